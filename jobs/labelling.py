"""What `prelabel` and `cutout` do with their options: a run, or its dry run, and what they say."""

import sys
from typing import TYPE_CHECKING, Any

import click

from maskmill.jobs.options import EXIT_FAILED_ROWS, run_options, say_json
from maskmill.schemas.text import count_of

if TYPE_CHECKING:
    from maskmill.pipeline.prelabel.job import PrelabelJob


def carry_out(
    command: str, options: dict[str, Any], *, as_json: bool, dry_run: bool, allow_failures: bool
) -> None:
    """Run what the options of a labelling command ask for, and say how it went.

    Ends the process with EXIT_FAILED_ROWS where images failed that were not allowed to.
    """
    # Arrow, torch and Ray are heavy; --help is not to wait for them.
    from maskmill.jobs.run import run
    from maskmill.jobs.summary import file_lines, headline, ledger_lines, outcome_dict
    from maskmill.pipeline.prelabel.job import PrelabelJob
    from maskmill.pipeline.prelabel.settings import PrelabelSettings

    how, wants_page = run_options(options), options.pop("report")
    job = PrelabelJob(PrelabelSettings(**options), command)
    if dry_run:
        _say_plan(job, as_json)
        return
    outcome = run(job, how)
    if wants_page:
        from maskmill.pipeline.reports.page import write_report

        outcome.result["report"] = write_report(job.settings.out)
    advice = "each failed image is a row with its reason; --retry-failed does them again"
    if as_json:
        say_json(outcome_dict(outcome, files=outcome.result))
    else:
        lines = [headline(outcome, "images", "nothing to do"), *file_lines(outcome.result)]
        click.echo("\n".join([*lines, *ledger_lines(outcome, advice)]))
    if outcome.ledger.failed and not allow_failures:
        sys.exit(EXIT_FAILED_ROWS)


def _say_plan(job: "PrelabelJob", as_json: bool) -> None:
    from maskmill.pipeline.prelabel.plan import dry_run
    from maskmill.pipeline.runs.record import load_own_record

    report = dry_run(job.plan(load_own_record(job.layout, job.command)), job.layout)
    if as_json:
        say_json(report)
        return
    size = "unknown size" if report["bytes"] is None else f"{report['bytes'] / 1e6:,.1f} MB"
    click.echo(
        f"{count_of(report['images'], 'image')} ({size}) from the {report['source']['kind']} "
        f"{report['source']['root']}, in {count_of(report['blocks'], 'block')}\n"
        f"{report['already_done']:,} have a row already, {report['to_do']:,} to do "
        f"with {report['model']}\nwould write {', '.join(report['would_write'])}"
    )
    if report["renamed"]:
        shown = ", ".join(report["renamed"][:3])
        click.echo(
            f"{len(report['renamed'])} outputs keep their extension, for names would collide: "
            f"{shown}"
        )
    for note in report["notes"]:
        click.echo(f"note: {note}")
