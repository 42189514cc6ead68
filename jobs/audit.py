"""`maskmill audit` and `maskmill audit compare`: options -> run -> summary and exit code."""

import sys
from contextlib import nullcontext
from tempfile import TemporaryDirectory
from typing import Any

import click

from maskmill.jobs.options import (
    EXIT_BELOW_THRESHOLD,
    EXIT_FAILED_ROWS,
    engine_options,
    exits_cleanly,
    failure_options,
    json_option,
    run_options,
    say_json,
)


class NamelessContext(click.Context):
    """The context of a command without a name, which leaves no blank where a name would be."""

    @property
    def command_path(self) -> str:
        """`maskmill audit`."""
        return super().command_path.rstrip()


class NamelessCommand(click.Command):
    """A command that goes by its group's name."""

    context_class = NamelessContext


class AuditGroup(click.Group):
    """`audit PREDICTIONS TRUTH` audits; `audit compare A B` compares."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Everything that does not begin with a subcommand's name is for auditing."""
        if not args or args[0] not in self.commands:
            args = ["", *args]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The nameless command audits."""
        return audit_masks if cmd_name == "" else super().get_command(ctx, cmd_name)


@click.group(cls=AuditGroup, add_help_option=False)
def audit() -> None:
    """Compare masks with their truth, and two audits with each other."""


@click.command("", cls=NamelessCommand)
@click.argument("predictions")
@click.argument("truth")
@click.option(
    "--labels",
    metavar="FILE",
    help="Label map: a file or a built-in name. Needed where masks do not name their classes.",
)
@click.option(
    "--ignore",
    multiple=True,
    type=click.IntRange(0, 65535),
    metavar="N",
    help="A value that leaves every number, besides 255 (and 65535). Can be given again.",
)
@click.option(
    "--map",
    "map_path",
    metavar="FILE|RULE",
    help="Sends the predictions' classes to the truth's, by name: a file, or a rule such as "
    "'* = background'; see docs/audit.md.",
)
@click.option(
    "--prediction-format",
    default="auto",
    show_default=True,
    metavar="FORMAT",
    help="What PREDICTIONS is: a mask or dataset format.",
)
@click.option(
    "--truth-format",
    default="auto",
    show_default=True,
    metavar="FORMAT",
    help="What TRUTH is: a mask or dataset format.",
)
@click.option(
    "--resize",
    type=click.Choice(["nearest"]),
    help="Bring predictions of another size to the truth's; without it they are failures.",
)
@click.option(
    "--images",
    metavar="DIR",
    help="The pictures, for thumbnails and for finding one picture labelled twice.",
)
@click.option(
    "--confidences",
    metavar="DIR",
    help="Confidence maps of the predictions: grey pictures, or npz files of probabilities.",
)
@click.option(
    "--counts-only",
    is_flag=True,
    help="Only the confusion matrix: no boundaries, regions or checks of the truth.",
)
@click.option(
    "--resamples",
    type=click.IntRange(10),
    default=1000,
    show_default=True,
    help="Bootstrap resamples behind the 95 % intervals.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@click.option(
    "--out",
    metavar="DIR",
    help="Write audit.json, audit.md, report.html and a Parquet row per pair here.",
)
@click.option(
    "--fail-under",
    default="",
    metavar="LIST",
    help="Exit with 4 below these: 0.6 (the mIoU), or miou=0.6,iou/person=0.8,boundary_iou=0.5.",
)
@click.option(
    "--overwrite", is_flag=True, help="Begin anew where OUT holds an audit, of whatever masks."
)
@click.option("--limit", type=click.IntRange(1), help="Only the first N pairs.")
@click.option(
    "--block-pairs",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Pairs of one task.",
)
@failure_options("pairs")
@engine_options
@json_option
@exits_cleanly
def audit_masks(as_json: bool, **options: Any) -> None:
    """Compare PREDICTIONS with TRUTH: numbers by definition, with intervals, and what is wrong.

    Either side is a folder of masks in any format, a dataset (COCO json, VOC, Cityscapes…), or the
    OUT of a prelabel run. Files are paired by name; nothing is left out in silence. With --out, the
    same command again continues where the last one was stopped.

    \b
    Examples:
      maskmill audit predictions/ truth/ --labels voc --out audit/
      maskmill audit labels/ gtFine/val --labels cityscapes --fail-under 0.6
      maskmill audit labels/ corrected/ --images photos/ --out corrections/
      maskmill audit compare before/audit.json after/audit.json

    \b
    Exit codes: 0 done, 1 the run broke, 2 usage, 3 some pairs could not be compared,
    4 a number is below --fail-under.
    """
    from maskmill.jobs.run import run  # Arrow is heavy; --help is not to wait
    from maskmill.pipeline.audit.job import AuditJob
    from maskmill.pipeline.audit.plan import AuditOptions
    from maskmill.pipeline.audit.report import console

    how = run_options(options)
    out, allow_failures = options.pop("out"), options.pop("allow_failures")
    mine = {"overwrite": options.pop("overwrite"), "retry_failed": how.retry_failed}
    with nullcontext(out) if out else TemporaryDirectory(prefix="maskmill-audit-") as folder:
        job = AuditJob(options=AuditOptions(**options), out=folder, keep=out is not None, **mine)
        outcome = run(job, how)
    if as_json:
        rate = {"pairs_per_second": round(outcome.rate, 2), "engine": outcome.engine}
        did = {"done_now": outcome.done_now, "seconds": round(outcome.seconds, 3), **rate}
        say_json({**console.to_dict(outcome.result), **did})
    else:
        done_now, seconds = outcome.done_now, outcome.seconds
        click.echo(console.text(outcome.result, done_now=done_now, seconds=seconds))
    if outcome.result.missed:
        sys.exit(EXIT_BELOW_THRESHOLD)
    if outcome.ledger.failed and not allow_failures:
        sys.exit(EXIT_FAILED_ROWS)


@audit.command("compare")
@click.argument("before")
@click.argument("after")
@click.option(
    "--resamples",
    type=click.IntRange(10),
    default=1000,
    show_default=True,
    help="Resamples of the paired bootstrap.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the paired bootstrap."
)
@click.option(
    "--common",
    is_flag=True,
    help="Leave out pictures whose truths differ; without it they are refused.",
)
@click.option(
    "--out", metavar="DIR", help="Write compare.html, a page with pictures, and compare.json here."
)
@json_option
@exits_cleanly
def compare(before: str, after: str, as_json: bool, **options: Any) -> None:
    """What moved from audit BEFORE to audit AFTER, and whether chance could have moved it.

    Both are the audit.json of an `audit --out`, with the rows beside it. The pictures that both
    compared are resampled together (paired bootstrap). The pictures that moved most are named.

    \b
    Example:
      maskmill audit compare before/audit.json after/audit.json --out moved/
    """
    from maskmill.pipeline.audit import compared_audits
    from maskmill.pipeline.audit.report import console

    moved = compared_audits.compare(before, after, **options)
    say_json(moved) if as_json else click.echo(console.comparison_text(moved))
