"""`maskmill inspect`: the mask doctor's census, verdict and exit code."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from maskmill.jobs.options import EXIT_FAILED_ROWS, exits_cleanly, json_option, say_json
from maskmill.schemas.text import count_of, printable

if TYPE_CHECKING:
    from maskmill.pipeline.inspect.census import FileCensus
    from maskmill.pipeline.inspect.doctor import Inspection

FEW_FILES = 64
SHOWN_VALUES = 24
SHOWN_PER_KIND = 3


@click.command()
@click.argument("path")
@click.option(
    "--labels",
    metavar="FILE",
    help="Label map the masks should follow: a file, or a built-in name.",
)
@click.option(
    "--images", metavar="DIR", help="Where the pictures are, to compare sizes and orientation."
)
@click.option("--workers", type=click.IntRange(1), help="Processes. [default: one per core]")
@json_option
@exits_cleanly
def inspect(
    path: str, labels: str | None, images: str | None, workers: int | None, as_json: bool
) -> None:
    """Say what is in the masks at PATH, what is wrong with them, and what to run next.

    PATH is a folder, a zip or one file. Modes, palettes, values with their pixel shares, unknown
    colours with the nearest known one, off-by-one classes, 0/255 binaries, lossy and resized masks,
    sizes and orientation against the pictures, duplicates, empty masks, one-pixel islands.
    Classes are named by --labels, a class list beside the masks, or a famous set whose file names
    and values both fit; otherwise values stay numbers. A dataset without masks is told by its
    document.

    \b
    Examples:
      maskmill inspect VOC2012/SegmentationClass
      maskmill inspect masks/ --labels labels.json --images photos/

    \b
    Exit codes: 0 healthy, 1 broken archive, 2 usage, 3 something is sick.
    """
    from maskmill.pipeline.inspect.doctor import inspect_masks
    from maskmill.schemas.label_files import load_label_map

    def censuses(names: Sequence[str]) -> "Iterable[FileCensus]":
        return _censuses(path, names, workers or len(os.sched_getaffinity(0)))

    found = inspect_masks(
        path,
        censuses,
        labels=load_label_map(labels) if labels else None,
        labels_argument=labels or "",
        images=images,
    )
    if as_json:
        say_json(found.to_dict())
    else:
        _say(found)
    if found.is_sick:
        sys.exit(EXIT_FAILED_ROWS)


def _censuses(path: str, names: Sequence[str], workers: int) -> "Iterable[FileCensus]":
    """In this process for a few files, in several for many."""
    from concurrent.futures import ProcessPoolExecutor
    from functools import partial
    from multiprocessing import get_context

    from maskmill.jobs.progress import progress_meter
    from maskmill.pipeline.inspect.doctor import census_in
    from maskmill.signals import end_with_parent

    work = partial(census_in, path)
    if len(names) <= FEW_FILES or workers == 1:
        yield from map(work, names)
        return
    spawned = get_context("spawn")  # forking a process that has threads is not safe
    with (
        ProcessPoolExecutor(workers, mp_context=spawned, initializer=end_with_parent) as pool,
        progress_meter(len(names), 0, "inspect", "files") as meter,
    ):
        for census in pool.map(work, names, chunksize=16):
            meter.advance(1, int(bool(census.failure)))
            yield census


def _say(found: "Inspection") -> None:
    report = found.to_dict()
    likely = printable(f"{found.convention.name}: {found.convention.reason}")
    if not found.files:
        click.echo(f"{printable(found.path)}: no masks, but {likely}")
        _say_findings(found)
        if found.next:
            click.echo(printable(f"next: {found.next}"))
        return
    modes = ", ".join(f"{mode} {count}" for mode, count in report["modes"].items())
    palettes = ", ".join(f"{kind} {count}" for kind, count in report["palettes"].items())
    click.echo(f"{printable(found.path)}: {count_of(len(found.files), 'mask')}, modes {modes}")
    if palettes:
        click.echo(f"palettes: {palettes}")
    click.echo(f"most likely {likely}")
    if found.labels is not None:
        origin = printable(found.naming.origin)
        click.echo(f"classes: {len(found.labels.classes)} from {origin}")
    elif found.is_unnamed:
        click.secho("classes are unnamed: give --labels FILE", fg="yellow")
    _say_values(report["values"])
    _say_findings(found)
    if not found.findings:
        click.secho("nothing odd", fg="green")
    if found.next:
        click.echo(printable(f"next: {found.next}"))


def _say_findings(found: "Inspection") -> None:
    for kind, count in found.kinds().items():
        of_kind = [one for one in found.findings if one.kind == kind]
        color = "red" if of_kind[0].severity == "sick" else "yellow"
        click.secho(f"{of_kind[0].severity} {kind}: {count:,}", fg=color)
        for one in of_kind[:SHOWN_PER_KIND]:
            click.echo(printable(f"  {one.file}{': ' if one.file else ''}{one.sentence}"))


def _say_values(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("value", "class", "pixels", "share", "files", box=None)
    for row in rows[:SHOWN_VALUES]:
        value = ",".join(map(str, row["value"])) if isinstance(row["value"], list) else row["value"]
        table.add_row(
            str(value),
            escape(printable(row["class"] or "")),
            f"{row['pixels']:,}",
            f"{row['share']:.2%}",
            f"{row['files']:,}",
        )
    console = Console(highlight=False)
    with console.capture() as shown:  # rich would end the process where the reader has gone
        console.print(table)
    click.echo(shown.get(), nl=False)
    if len(rows) > SHOWN_VALUES:
        click.echo(f"… and {len(rows) - SHOWN_VALUES} more values; --json lists them")
