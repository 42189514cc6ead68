"""`maskmill cutout`: a labelling run that also keeps the subject of every picture."""

from typing import Any

import click

from maskmill.jobs.labelling import carry_out
from maskmill.jobs.options import exits_cleanly
from maskmill.jobs.prelabel import prelabel

LEFT_OUT = ("writers", "segments", "min_confidence", "threshold")
"""Options of `prelabel` that a cutout has no use for; the others are its own too."""


def _color(
    context: click.Context, _: click.Parameter, value: str | None
) -> tuple[int, int, int] | None:
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    if len(parts) != 3 or not all(part.isdecimal() and int(part) <= 255 for part in parts):
        raise click.BadParameter(f"{value!r} is not R,G,B with values from 0 to 255")
    if context.params["background"] != "color":
        raise click.BadParameter("is for --background color")
    red, green, blue = (int(part) for part in parts)
    return red, green, blue


def _classes(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


@click.command()
@click.argument("source")
@click.argument("out")
@click.option(
    "--background",
    type=click.Choice(["blur", "remove", "color"]),
    default="blur",
    show_default=True,
    is_eager=True,
    help="What becomes of it: blurred, transparent (PNG), or one colour.",
)
@click.option(
    "--color",
    callback=_color,
    metavar="R,G,B",
    help="The colour of --background color. [default: 255,255,255]",
)
@click.option(
    "--blur",
    type=click.FloatRange(0.2, 20),
    default=2.0,
    show_default=True,
    metavar="PERCENT",
    help="Strength of the blur, of the picture's longest side.",
)
@click.option(
    "--classes",
    default="",
    callback=_classes,
    metavar="NAMES",
    help="What stays, as person,dog. [default: every class but the background]",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="Probability of these classes at which a pixel is half in; lower keeps more.",
)
@exits_cleanly
def cutout(
    as_json: bool,
    dry_run: bool,
    allow_failures: bool,
    background: Any,
    color: tuple[int, int, int] | None,
    blur: float,
    classes: tuple[str, ...],
    threshold: float,
    **options: Any,
) -> None:
    """Keep the subject of every image of SOURCE; cutouts, masks and rows go to OUT.

    The edge is soft and follows the picture, and the cutout has the picture's size. A cutout run is
    a labelling run: the same sources, ledger, rows and resuming, and `maskmill verify` proves it.

    \b
    Examples:
      maskmill cutout photos/ blurred/
      maskmill cutout photos/ portraits/ --background remove --classes person
      maskmill cutout photos/ shop/ --background color --color 240,240,240
      maskmill cutout photos/ team/ --background remove --classes person --min-area 2000

    \b
    Exit codes: 0 done, 1 the run broke, 2 usage, 3 done but some images failed.
    """
    # OpenCV and torch are heavy; --help is not to wait for them.
    from maskmill.pipeline.prelabel.cutout import CutoutSettings

    settings = CutoutSettings(
        background=background,
        color=color or (255, 255, 255),
        classes=classes,
        threshold=threshold,
        blur=blur,
        min_area=options["min_area"],
    )
    written = {"writers": ("masks", "cutouts"), "writer_settings": {"cutouts": settings}}
    carry_out(
        "cutout", {**options, **written}, as_json=as_json, dry_run=dry_run,
        allow_failures=allow_failures,
    )  # fmt: skip


cutout.params += [
    option
    for option in prelabel.params
    if isinstance(option, click.Option) and option.name not in LEFT_OUT
]
