"""`maskmill report`: a run as one HTML page that needs no server."""

import click

from maskmill.jobs.options import exits_cleanly, json_option, say_json
from maskmill.schemas.text import printable


@click.command()
@click.argument("run")
@click.option(
    "--pictures",
    type=click.IntRange(0),
    default=200,
    show_default=True,
    help="How many to show: most uncertain, at random, of every class.",
)
@json_option
@exits_cleanly
def report(run: str, pictures: int, as_json: bool) -> None:
    """Write RUN/report/index.html: ledger, classes, confidence, pictures, failures in one file.

    RUN is one of prelabel, cutout or convert; an audit writes its own page. Pictures are read
    again from where they lie.

    \b
    Example:
      maskmill report labels/
    """
    from maskmill.pipeline.reports.page import write_report

    path = write_report(run, pictures)
    if as_json:
        say_json({"run": run, "report": path})
    else:
        click.echo(printable(path))
