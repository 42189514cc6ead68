"""`maskmill rank`: the order in which people should look at a run's images."""

import sys
from typing import Any

import click

from maskmill.jobs.options import exits_cleanly, json_option, say_json
from maskmill.schemas.text import count_of, printable


@click.command()
@click.argument("out")
@click.option(
    "--top",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="How many to print; the files hold all.",
)
@click.option(
    "--rarity",
    type=click.FloatRange(0),
    default=0.5,
    show_default=True,
    help="Weight of rare classes beside uncertainty (which counts 1).",
)
@json_option
@exits_cleanly
def rank(out: str, top: int, rarity: float, as_json: bool) -> None:
    """Print and write the review order of the run in OUT: most uncertain, rare classes first.

    An image's score is its place among all images by mean entropy (0 the surest, 1 the least sure)
    plus --rarity times how rare its rarest class is (0 in every image, 1 in this one only).
    The order is written to OUT/review/order.csv and order.parquet. In the CSV a name that a
    spreadsheet would compute (it begins with = + - @) has an apostrophe before it.

    \b
    Example:
      maskmill rank labels/ --top 50
    """
    from maskmill.pipeline.prelabel.review_order import review_order, write_order
    from maskmill.pipeline.runs.layout import RunLayout

    layout = RunLayout(out)
    order = review_order(layout, rarity_weight=rarity)
    paths = write_order(layout, order)
    shown = order.head(top).table.to_pylist()
    if as_json:
        say_json({"out": out, "images": order.num_rows, "files": paths, "top": shown})
        return
    _say(out, order.num_rows, shown, paths)


def _say(out: str, images: int, shown: list[dict[str, Any]], paths: list[str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("rank", "image", "score", "entropy", "below 0.5", "rarest class")
    for row in shown:
        table.add_row(
            str(row["rank"]),
            escape(printable(row["key"])),
            f"{row['score']:.3f}",
            f"{row['mean_entropy']:.3f}",
            f"{row['low_confidence_fraction']:.1%}",
            escape(printable(row["rarest_class"] or "–")),
        )
    console = Console(width=None if sys.stdout.isatty() else 110)
    with console.capture() as drawn:  # rich would end the process where the reader has gone
        console.print(table)
    click.echo(drawn.get(), nl=False)
    click.echo(
        printable(f"{out}: {count_of(images, 'image')} ranked; written to {' and '.join(paths)}")
    )
