"""`maskmill push`: a run's images with their masks, into the tools of annotators."""

import sys
from typing import TYPE_CHECKING, Any

import click

from maskmill.jobs.options import (
    EXIT_FAILED_ROWS,
    exits_cleanly,
    failure_options,
    json_option,
    say_json,
    with_options,
)
from maskmill.jobs.server_options import cvat_of, server_options, studio_of

if TYPE_CHECKING:
    from maskmill.jobs.run import Outcome
    from maskmill.pipeline.exchange.delivery import Settlement
    from maskmill.pipeline.exchange.push_job import PushJob

MAX_GONE = 5


@click.group()
def push() -> None:
    """Send a finished run to annotators, with its masks as predictions, each image once.

    \b
    Example:
      maskmill push labelstudio labels/ --url https://labels.example.org --project Street
    """


_which_images = with_options(
    click.option(
        "--only",
        metavar="LIST",
        help="Text file with a key (path below the source) per line.",
    ),
    click.option(
        "--order",
        type=click.Choice(["key", "rank", "list"]),
        default="key",
        show_default=True,
        help="rank: as `maskmill rank` has them; list: as --only has them.",
    ),
    click.option("--limit", type=click.IntRange(1), metavar="N", help="The first N in that order."),
    failure_options("images"),
)
"""The options that say which images are sent, and in which order."""


@push.command()
@click.argument("run")
@server_options("LABEL_STUDIO_API_KEY")
@click.option(
    "--project",
    required=True,
    metavar="NAME|ID",
    help="A project by number or title; a title that is not there becomes a new project.",
)
@_which_images
@click.option(
    "--shapes",
    type=click.Choice(["brush", "polygon"]),
    default="brush",
    show_default=True,
    help="brush: every pixel; polygon: outlines that are lighter to edit.",
)
@click.option(
    "--max-loss",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="IoU a polygon may lose to simplification.",
)
@click.option(
    "--picture-urls",
    metavar="PREFIX",
    help="Annotators' browsers load PREFIX + key; nothing is uploaded.",
)
@click.option(
    "--local-files",
    metavar="DIR",
    help="The source's folder on the server's own disk; nothing is uploaded.",
)
@click.option(
    "--local-files-root",
    metavar="DIR",
    help="The server's LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT.  [default: the folder above]",
)
@click.option(
    "--chunk",
    type=click.IntRange(1, 1000),
    default=50,
    show_default=True,
    help="Images per request to the server.",
)
@json_option
@exits_cleanly
def labelstudio(run: str, as_json: bool, **options: Any) -> None:
    """Send the images of RUN to a project of Label Studio, with their masks as predictions.

    The ledger is in RUN/push/: the same command again continues where it was, however it ended, and
    no task is there twice. Pictures are uploaded unless --picture-urls or --local-files is given.

    \b
    Examples:
      export LABEL_STUDIO_API_KEY=…
      maskmill push labelstudio labels/ --url https://labels.example.org --project Street
      maskmill push labelstudio labels/ --url http://127.0.0.1:8080 --project 7 --order rank
      maskmill push labelstudio labels/ --url http://127.0.0.1:8080 --project 7 --only some.txt

    \b
    Exit codes: 0 all images are there, 1 the server failed (the same command continues), 2 usage,
    3 done but the server did not take some.
    """
    from maskmill.pipeline.exchange.label_studio_push import LabelStudioRequest, label_studio_push

    how = {name: options.pop(name) for name in ("retry_failed", "allow_failures")}
    studio = studio_of(options)
    job = label_studio_push(LabelStudioRequest(run=run, **options), studio)
    _send(job, as_json, **how)


@push.command()
@click.argument("run")
@server_options("CVAT_ACCESS_TOKEN")
@click.option(
    "--project",
    required=True,
    metavar="NAME|ID",
    help="A project by number or name; a name that is not there becomes a new project.",
)
@_which_images
@click.option(
    "--task-images",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Most images of a task; a folder begins a new one.",
)
@json_option
@exits_cleanly
def cvat(run: str, as_json: bool, **options: Any) -> None:
    """Send the images of RUN to a project of CVAT: tasks of pictures with masks, `source` auto.

    A folder becomes tasks of at most --task-images pictures; with --order rank or list the order
    is kept instead. The ledger is in RUN/push/: the same command again continues where it was, and
    nothing is there twice. Needs the extra: pip install 'maskmill[cvat]'.

    \b
    Example:
      export CVAT_ACCESS_TOKEN=…
      maskmill push cvat labels/ --url https://cvat.example.org --project Street

    \b
    Exit codes: 0 all images are there, 1 the server failed (the same command continues), 2 usage,
    3 done but the server did not take some.
    """
    from maskmill.pipeline.exchange.cvat_push import CvatRequest, cvat_push

    how = {name: options.pop(name) for name in ("retry_failed", "allow_failures")}
    server = cvat_of(options)
    _send(cvat_push(CvatRequest(run=run, **options), server), as_json, **how)


def _send(job: "PushJob", as_json: bool, *, retry_failed: bool, allow_failures: bool) -> None:
    from maskmill.jobs.engines.serial import SerialOptions
    from maskmill.jobs.run import run as run_job
    from maskmill.pipeline.runs.layout import RunLayout
    from maskmill.pipeline.runs.lock import run_lock

    with run_lock(
        RunLayout(job.place)
    ):  # two batches for one project would not see each other's images
        outcome = run_job(job, SerialOptions(retry_failed=retry_failed))
    _say(outcome, job, as_json)
    if outcome.result.gone or (outcome.ledger.failed and not allow_failures):
        sys.exit(EXIT_FAILED_ROWS)


def _say(outcome: "Outcome[Settlement]", job: "PushJob", as_json: bool) -> None:
    from maskmill.jobs.summary import headline, ledger_lines, outcome_dict
    from maskmill.schemas.text import count_of, printable

    settlement = outcome.result
    if as_json:
        more = {"address": dict(job.address), "doubles_removed": settlement.removed}
        say_json(outcome_dict(outcome, **more, gone=list(settlement.gone)))
        return
    address = job.address
    lines = [headline(outcome, "images", "nothing to send")]
    lines.append(f"  project      {address['url']}/projects/{address['project']}")
    lines += ledger_lines(outcome, "every image that was not taken is a row with its reason")
    if settlement.removed:
        lines.append(f"  doubles      {settlement.removed:,} removed: late answers of the server")
    if settlement.gone:
        gone = count_of(len(settlement.gone), "image has", "images have")
        lines.append(f"  gone         {gone} no task there any more:")
        lines += [f"    {printable(key)}" for key in settlement.gone[:MAX_GONE]]
    lines += [f"  note         {printable(note)}" for note in settlement.notes]
    click.echo("\n".join(lines))
