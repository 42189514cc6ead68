"""`maskmill select`: which images of a run to send to annotators next."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from maskmill.jobs.options import exits_cleanly, json_option, say_json
from maskmill.schemas.text import printable

if TYPE_CHECKING:
    from maskmill.pipeline.selection.choice import Choice

STRATEGY_NAMES = ("uncertain", "diverse", "mixed", "rare")
MOST_SHOWN = 20


@click.command()
@click.argument("out", metavar="RUN")
@click.option("--count", type=click.IntRange(1), required=True, help="How many images to choose.")
@click.option(
    "--strategy",
    type=click.Choice(STRATEGY_NAMES),
    default="mixed",
    show_default=True,
    help="uncertain: the network is unsure; diverse: unlike each other; mixed: both, and rare "
    "classes; rare: classes that few images have.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="LIST|DATASET",
    help="Images that people have seen already: not chosen, but counted as covered. Can be given "
    "again.",
)
@click.option(
    "--distinct",
    is_flag=True,
    help="Of images that `maskmill duplicates` found alike, one at most.",
)
@click.option(
    "--list",
    "copy",
    metavar="FILE",
    help="Put the list here, too; RUN/selection/selected.txt is that of the last call.",
)
@json_option
@exits_cleanly
def select(
    out: str,
    count: int,
    strategy: str,
    exclude: tuple[str, ...],
    distinct: bool,
    copy: str | None,
    as_json: bool,
) -> None:
    """Choose the images of RUN that are worth annotating next, best first.

    The list is written to RUN/selection/selected.txt (`prelabel LIST`, `convert --only LIST`,
    `prelabel --skip LIST` and `select --exclude LIST` take it), with selected.parquet beside it,
    which says why. diverse and mixed compare features: `prelabel --write masks,features`.

    \b
    Examples:
      maskmill select labels/ --count 60
      maskmill select labels/ --count 60 --exclude corrected/ --list round2.txt
      maskmill select labels/ --count 200 --strategy rare
    """
    from maskmill.pipeline.runs.layout import RunLayout
    from maskmill.pipeline.selection.candidates import candidates_of
    from maskmill.pipeline.selection.choice import choose, write_choice
    from maskmill.pipeline.selection.strategies import COMPARING

    layout = RunLayout(out)
    images = candidates_of(layout, exclude, with_features=strategy in COMPARING, distinct=distinct)
    choice = choose(images, strategy, count)
    files = write_choice(layout, choice)
    if copy is not None:
        Path(copy).write_bytes(layout.read("selection/selected.txt"))
        files["copy"] = copy
    for note in choice.notes:
        click.echo(f"note: {printable(note)}", err=True)
    if as_json:
        found = {"strategy": strategy, "chosen": choice.table.num_rows, "images": choice.images}
        say_json({"out": out, **found, "known": choice.known, "files": files})
        return
    _say(out, strategy, choice, files)


def _say(out: str, strategy: str, choice: "Choice", files: dict[str, str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("rank", "image", "gain", "entropy", "rarest class", "distance")
    for row in choice.table.slice(0, MOST_SHOWN).to_pylist():
        distance = "–" if row["distance"] is None else f"{row['distance']:.3f}"
        table.add_row(
            str(row["rank"]),
            escape(printable(row["key"])),
            f"{row['gain']:.3f}",
            f"{row['mean_entropy']:.3f}",
            escape(printable(row["rarest_class"] or "–")),
            distance,
        )
    console = Console(width=None if sys.stdout.isatty() else 110)
    with console.capture() as drawn:  # rich would end the process where the reader has gone
        console.print(table)
    click.echo(drawn.get(), nl=False)
    chosen = f"{choice.table.num_rows:,} of {choice.images:,} images chosen ({strategy})"
    known = f", {choice.known:,} known before" if choice.known else ""
    click.echo(printable(f"{out}: {chosen}{known}; the list is {files.get('copy', files['list'])}"))
