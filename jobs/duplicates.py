"""`maskmill duplicates`: which images of a run are alike."""

from typing import TYPE_CHECKING

import click

from maskmill.jobs.options import exits_cleanly, json_option, say_json
from maskmill.schemas.text import count_of, printable

if TYPE_CHECKING:
    from maskmill.pipeline.selection.duplicates import Duplicates

MAX_PIXELS = 128_000_000


@click.command()
@click.argument("out", metavar="RUN")
@click.option(
    "--threshold",
    type=click.IntRange(0, 12),
    default=10,
    show_default=True,
    metavar="BITS",
    help="Bits of 64 in which the perceptual hashes of near copies may differ; 12 at most.",
)
@click.option(
    "--top",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="How many groups to print; the files hold all.",
)
@json_option
@exits_cleanly
def duplicates(out: str, threshold: int, top: int, as_json: bool) -> None:
    """Group the images of RUN that are alike: the same bytes, the same pixels, or nearly the same.

    Near copies are other encodings and sizes of a picture. The first of a group is the one to keep:
    most pixels, then most bytes. RUN/selection/duplicates.parquet has the groups, duplicates.txt
    beside it the images that are not the first, as a list for `prelabel --skip`; `select
    --distinct` leaves them out. Runs with features (`prelabel --write masks,features`) tell at
    once; of others every picture is read once.

    \b
    Examples:
      maskmill duplicates labels/
      maskmill duplicates labels/ --threshold 4 --json
    """
    from maskmill.pipeline.prelabel.inputs import MAX_FILE_BYTES
    from maskmill.pipeline.runs.layout import RunLayout
    from maskmill.pipeline.selection.duplicates import find_duplicates, write_duplicates
    from maskmill.pipeline.selection.run_images import looked_at_images

    layout = RunLayout(out)
    images = looked_at_images(layout, max_pixels=MAX_PIXELS, max_bytes=MAX_FILE_BYTES)
    found = find_duplicates(images, threshold=threshold)
    files = write_duplicates(layout, found)
    if as_json:
        counts = {"images": found.images, **found.counts()}
        say_json({"out": out, **counts, "with_features": found.with_features, "files": files})
        return
    _say(out, found, files, top)


def _say(out: str, found: "Duplicates", files: dict[str, str], top: int) -> None:
    for row in found.table.to_pylist():
        if row["group"] > top:
            break
        about = row["kind"] if row["distance"] is None else f"{row['kind']}, {row['distance']} bits"
        indent = "" if row["kind"] == "kept" else "  "
        click.echo(f"{indent}{printable(row['key'])} ({about})")
    counts = found.counts()
    kinds = ", ".join(f"{kind} {counts[kind]:,}" for kind in ("exact", "pixels", "near"))
    images, groups = count_of(found.images, "image"), count_of(counts["groups"], "group")
    click.echo(
        printable(
            f"{out}: {images}, {groups}; copies: {kinds}; written to {' and '.join(files.values())}"
        )
    )
