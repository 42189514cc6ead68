"""`maskmill view`: a local page to look at a run or a data set, to review it, to try a model."""

import getpass
import secrets
import webbrowser
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maskmill.jobs.options import exits_cleanly
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.text import printable

if TYPE_CHECKING:
    from maskmill.jobs.web.viewer import Viewer

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command()
@click.argument("source", required=False)
@click.option(
    "--truth",
    metavar="TRUTH",
    help="Lay the truth of this folder or data set beside, and what differs.",
)
@click.option("--audit", metavar="AUDIT", help="Lay the truth and the scores of this audit beside.")
@click.option(
    "--model",
    metavar="NAME|FILE|DIR",
    help="What the tab Try begins with. [default: that of prelabel]",
)
@click.option(
    "--from",
    "format",
    metavar="FORMAT",
    help="What a data set is, where it is not recognised; as for convert.",
)
@click.option("--labels", metavar="FILE", help="Label map of --model if given, else of a data set.")
@click.option("--images", metavar="DIR", help="Where the pictures of a data set are.")
@click.option(
    "--mask-suffix", metavar="TEXT", help="What masks' names have beyond their pictures'."
)
@click.option(
    "--review-dir", metavar="DIR", help="Where decisions are kept. [default: SOURCE/review]"
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0: any free one."
)
@click.option("--no-browser", is_flag=True, help="Only say the address.")
@exits_cleanly
def view(
    source: str | None,
    model: str | None,
    review_dir: str | None,
    host: str,
    port: int,
    no_browser: bool,
    **options: Any,
) -> None:
    """Look at SOURCE in the browser: gallery, single images, review, and a model to try.

    SOURCE is a run of prelabel, cutout, convert, audit, finetune or pull, also one under way, or a
    data set that convert reads. Without SOURCE there is only the model. The server listens on this
    machine alone; its address has a token, and whoever has the address may look and decide. Ctrl-C
    ends it.

    \b
    Examples:
      maskmill view labels/
      maskmill view labels/ --audit audited/
      maskmill view masks/ --from masks --labels voc --images photos/
      maskmill view --model deeplabv3_mobilenetv2_x05_voc
    """
    from maskmill.jobs.web.application import Pages
    from maskmill.jobs.web.guard import Guard
    from maskmill.jobs.web.serving import bound_socket, names_of, serve
    from maskmill.jobs.web.trial import Trial

    tried = Trial(model, options.pop("labels") if model else None)
    looked_at = closing(_viewer(source, review_dir, options)) if source else nullcontext()
    with closing(tried) as trial, looked_at as viewer:
        if source is None:
            _refuse_alone(model, review_dir, options)
        listening = bound_socket(host, port)
        port = listening.getsockname()[1]
        token = secrets.token_urlsafe(24)
        app = Guard(
            Pages(viewer, trial).application(), token=token, port=port, names=names_of(host)
        )
        shown = host if host not in ("0.0.0.0", "::") else "127.0.0.1"
        place = f"[{shown}]" if ":" in shown else shown
        address = f"http://{place}:{port}/?token={token}"
        told = viewer.why_no_review if viewer else ""
        serve(
            app,
            listening,
            lambda: _say(source, model, address, host, told, open_it=not no_browser),
        )
    click.echo("maskmill view: stopped", err=True)


def _viewer(source: str, review_dir: str | None, options: dict[str, Any]) -> "Viewer":
    from maskmill.jobs.web.viewer import Viewer
    from maskmill.pipeline.models.weights.cache import cache_dir
    from maskmill.pipeline.review.opening import Opening, open_subject

    subject = open_subject(source, Opening(**options))
    folder = Path(review_dir) if review_dir else None
    return Viewer(subject, cache=cache_dir(), review_dir=folder, reviewer=_user())


def _refuse_alone(model: str | None, review_dir: str | None, options: dict[str, Any]) -> None:
    if model is None:
        raise SettingsError("give a run or a data set to look at, or --model NAME to try a model")
    given = [name for name, value in options.items() if value]
    if review_dir:
        given.append("review_dir")
    if given:
        names = ", ".join("--" + name.replace("_", "-").replace("format", "from") for name in given)
        raise SettingsError(f"{names}: of use only with a SOURCE to look at")


def _say(
    source: str | None, model: str | None, address: str, host: str, told: str, *, open_it: bool
) -> None:
    what = printable(source or model)
    click.echo(f"{what} is shown at {address}\nCtrl-C ends it.")
    if told:
        click.echo(f"note: nothing is reviewed here: {printable(told)}", err=True)
    if host not in LOOPBACK:
        click.echo(
            f"note: --host {host} lets other machines in that have the address; nothing is "
            "encrypted",
            err=True,
        )
    if open_it:
        webbrowser.open(address)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for its user
        return "reviewer"
