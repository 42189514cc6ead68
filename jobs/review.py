"""`maskmill review`: what reviewers decided, as files that other commands take."""

from dataclasses import asdict
from pathlib import Path

import click

from maskmill.jobs.options import exits_cleanly, json_option, say_json
from maskmill.schemas.text import printable


@click.group()
def review() -> None:
    """The decisions made in `maskmill view`.

    \b
    Example:
      maskmill review export labels/
    """


@review.command()
@click.argument("run")
@click.option("--review-dir", metavar="DIR", help="Where the decisions are. [default: RUN/review]")
@click.option("--out", metavar="DIR", help="Where to write. [default: beside the decisions]")
@json_option
@exits_cleanly
def export(run: str, review_dir: str | None, out: str | None, as_json: bool) -> None:
    """Write what was accepted, rejected and flagged in RUN as lists, CSV and Parquet.

    accepted.txt, rejected.txt and flagged.txt hold a key per line; decisions.csv and
    decisions.parquet hold decision, note, reviewer and time. In the CSV a name that a spreadsheet
    would compute has an apostrophe before it.

    \b
    Example:
      maskmill review export labels/ --out decided/
    """
    from maskmill.pipeline.review.export import export_decisions
    from maskmill.pipeline.storage.filesystems import local_path
    from maskmill.schemas.errors import SettingsError

    place = review_dir or local_path(run)
    if place is None:
        raise SettingsError(f"{run} is not on a disk: give the folder with --review-dir")
    folder = Path(review_dir) if review_dir else Path(place) / "review"
    found = export_decisions(folder, Path(out) if out else folder)
    if as_json:
        say_json({"run": run, **asdict(found)})
        return
    counts = ", ".join(f"{count:,} {name}" for name, count in found.counts.items())
    click.echo(f"{printable(run)}: {counts}, {found.notes:,} notes")
    for name, path in found.files.items():
        click.echo(f"  {name:<12} {printable(path)}")
    if found.unlisted:
        click.echo(
            f"  {len(found.unlisted)} names have a line break and stand in no list, only in "
            f"decisions.csv and .parquet; first {printable(found.unlisted[0])}"
        )
