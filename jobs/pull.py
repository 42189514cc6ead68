"""`maskmill pull`: what annotators made of a project, as masks and rows of ours."""

import sys
from collections.abc import Callable, Mapping
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
    from maskmill.pipeline.exchange.pull_job import Pulled, PullJob

MAX_KINDS = 6


@click.group()
def pull() -> None:
    """Fetch annotations, with who, when, and whether the prediction was kept.

    \b
    Example:
      maskmill pull labelstudio corrected/ --url https://labels.example.org --project Street
      maskmill audit labels/ corrected/ --out changes/
    """


def _run_option(**more: Any) -> Callable[[Any], Any]:
    return click.option("--run", "pushed", metavar="RUN", **more)


RUN_OF_LABEL_STUDIO = _run_option(
    help="The run that was pushed: its label map and pictures are taken, not those of the server."
)
RUN_OF_CVAT = _run_option(
    required=True, help="The run that was pushed: its ledger, label map and masks."
)


def _fetches(variable: str, run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The arguments of a command that fetches; ``variable`` is where a token is looked for."""
    return with_options(
        click.argument("out"),
        server_options(variable),
        click.option("--project", required=True, metavar="NAME|ID", help="By number or title."),
        run,
        failure_options("images"),
        json_option,
        exits_cleanly,
    )


@pull.command()
@_fetches("LABEL_STUDIO_API_KEY", RUN_OF_LABEL_STUDIO)
def labelstudio(out: str, project: str, pushed: str | None, **options: Any) -> None:
    """Fetch the annotations of a Label Studio project into OUT: a mask and a row per image.

    Page by page; stopped, the same command continues. OUT reads like the OUT of `prelabel`, and the
    answers of the server stay in OUT/pages, word for word. Of several annotations of a task the
    last one counts that nobody cancelled.

    \b
    Example:
      export LABEL_STUDIO_API_KEY=…
      maskmill pull labelstudio corrected/ --url https://labels.example.org --project Street
      maskmill audit labels/ corrected/ --out changes/

    \b
    Exit codes: 0 done, 1 the server failed (the same command continues), 2 usage, 3 done but some
    annotations could not be read.
    """
    from maskmill.pipeline.exchange.label_studio_pull import label_studio_pull

    _fetch(label_studio_pull(studio_of(options), project, out, pushed), **options)


@pull.command()
@_fetches("CVAT_ACCESS_TOKEN", RUN_OF_CVAT)
def cvat(out: str, project: str, pushed: str, **options: Any) -> None:
    """Fetch the annotations of a CVAT project into OUT: a mask and a row per image.

    Task by task, by export; stopped, the same command continues. An image counts as annotated where
    its job was begun or a shape of it is not `source` auto.

    \b
    Example:
      export CVAT_ACCESS_TOKEN=…
      maskmill pull cvat corrected/ --url https://cvat.example.org --project Street --run labels/

    \b
    Exit codes: 0 done, 1 the server failed (the same command continues), 2 usage, 3 done but some
    annotations could not be read.
    """
    from maskmill.pipeline.exchange.cvat_pull import cvat_pull

    _fetch(cvat_pull(cvat_of(options), project, out, pushed), **options)


def _fetch(job: "PullJob", *, as_json: bool, retry_failed: bool, allow_failures: bool) -> None:
    from maskmill.jobs.engines.choice import RunOptions
    from maskmill.jobs.run import run

    outcome = run(job, RunOptions(engine="local", retry_failed=retry_failed))
    _say(outcome, as_json)
    if outcome.ledger.failed and not allow_failures:
        sys.exit(EXIT_FAILED_ROWS)


def _say(outcome: "Outcome[Pulled]", as_json: bool) -> None:
    from maskmill.jobs.summary import headline, ledger_lines, outcome_dict
    from maskmill.schemas.text import printable

    told = outcome.result
    if as_json:
        more = {"changes": told.changes, "others": told.others, "annotators": told.annotators}
        say_json(outcome_dict(outcome, **more, left_out=told.left_out))
        return
    lines = [headline(outcome, "annotated images", "nothing to fetch")]
    lines.append(f"  predictions  {_counted(told.changes) or 'none'}")
    lines.append(f"  by           {printable(_counted(told.annotators))}")
    if told.others:
        lines.append(f"  not fetched  {_counted(told.others)}")
    lines += ledger_lines(outcome, "every failed image is a row of metadata/ with its reason")
    if told.left_out:
        lines.append(f"  left out     {printable(_counted(told.left_out))}")
    click.echo("\n".join(lines))


def _counted(counts: Mapping[str, int]) -> str:
    most = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    shown = [f"{count:,} {name}" for name, count in most[:MAX_KINDS]]
    return ", ".join([*shown, "…"] if len(most) > MAX_KINDS else shown)
