"""`maskmill convert`: options -> ConversionRequest -> run -> summary and exit code."""

import sys
from typing import TYPE_CHECKING, Any

import click

from maskmill.jobs.dataset_options import dataset_options
from maskmill.jobs.options import (
    EXIT_FAILED_ROWS,
    engine_options,
    exits_cleanly,
    failure_options,
    json_option,
    run_options,
    say_json,
)
from maskmill.pipeline.datasets.registry import DATASET_FORMATS, readable_formats, writable_formats

if TYPE_CHECKING:
    from maskmill.jobs.run import Outcome
    from maskmill.pipeline.convert.finish import Yield
    from maskmill.pipeline.convert.job import Converted

MAX_IMPORTS = 3
MAX_KINDS = 6


@click.command()
@click.argument("source", required=False)
@click.argument("out", required=False)
@click.option(
    "--from",
    "from_format",
    type=click.Choice(readable_formats()),
    metavar="FORMAT",
    help="What SOURCE is; --list shows all.",
)
@click.option(
    "--to",
    "to_format",
    type=click.Choice(writable_formats()),
    metavar="FORMAT",
    help="What OUT/dataset becomes; --list shows all.",
)
@dataset_options
@click.option(
    "--max-loss",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="IoU a polygon may lose to simplification; 0 keeps every pixel.",
)
@click.option(
    "--only",
    metavar="LIST",
    help="Convert the samples whose pictures a text list names, and no others.",
)
@click.option(
    "--with-images",
    is_flag=True,
    help="Copy the pictures into OUT/dataset where its layout wants them.",
)
@click.option(
    "--split",
    metavar="NAME=SHARE,…",
    help="Split samples that have no split yet: train=0.8,val=0.1,test=0.1. Stable per key.",
)
@click.option(
    "--max-package-images",
    type=click.IntRange(1),
    metavar="N",
    help="CVAT and Label Studio documents of at most N images each.",
)
@click.option(
    "--max-package-mb",
    type=click.FloatRange(0, min_open=True),
    metavar="MB",
    help="CVAT and Label Studio documents of at most MB megabytes each; proxies refuse more.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, another split.")
@click.option("--strict", is_flag=True, help="Exit with 3 where anything was left out.")
@click.option("--check", is_flag=True, help="Read OUT/dataset back and compare every pixel.")
@click.option(
    "--block-samples",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Samples that commit together.",
)
@failure_options("samples")
@click.option("--list", "list_formats", is_flag=True, help="List the formats and what they hold.")
@engine_options
@json_option
@exits_cleanly
def convert(as_json: bool, list_formats: bool, **options: Any) -> None:
    """Convert masks and annotations of SOURCE to another format, in OUT/dataset.

    Exact where the target can hold the masks, measured where it cannot: OUT/metadata has a row per
    sample with the IoU of every simplified polygon, and --check compares the result with SOURCE.
    The same command again continues where it was.

    \b
    Examples:
      maskmill convert VOC2012/ out/ --from voc --to coco --check
      maskmill convert labels/ out/ --from prelabel --to cvat_mask --max-package-mb 100
      maskmill convert masks/ out/ --from masks --labels labels.json --to yolo --with-images
      maskmill convert coco.json out/ --from coco --to labelme --map classes.txt
      maskmill convert labels/ out/ --from prelabel --to coco --only labels/selection/selected.txt

    \b
    Exit codes: 0 done, 1 the run broke or --check found what should be exact and is not, 2 usage,
    3 done but some samples failed, or with --strict anything was left out.
    """
    if list_formats:
        _say_formats(as_json)
        return
    for name in ("source", "out", "from_format", "to_format"):
        if options[name] is None:
            raise click.UsageError(f"{name.removesuffix('_format').upper()} is missing; see --help")
    from maskmill.jobs.run import run
    from maskmill.pipeline.convert.job import ConvertJob
    from maskmill.pipeline.convert.options import conversion_request

    how = run_options(options)
    allow_failures, strict = options.pop("allow_failures"), options.pop("strict")
    mine = {name: options.pop(name) for name in ("out", "check", "block_samples")}
    outcome = run(ConvertJob(request=conversion_request(**options), **mine), how)
    _say(outcome, as_json)
    proof = outcome.result.proof
    if proof is not None and not proof.is_kept:
        sys.exit(1)
    left_out = sum(outcome.result.counts.left_out.values())
    if (outcome.ledger.failed and not allow_failures) or (left_out and strict):
        sys.exit(EXIT_FAILED_ROWS)


def _say(outcome: "Outcome[Converted]", as_json: bool) -> None:
    from maskmill.jobs.summary import headline, ledger_lines, outcome_dict
    from maskmill.pipeline.convert.conversion import DATASET_FOLDER

    imports, proof = outcome.result.imports, outcome.result.proof
    dataset = f"{outcome.out.rstrip('/')}/{DATASET_FOLDER}"
    if as_json:
        check = None if proof is None else proof.to_dict()
        more = {"dataset": dataset, "import": list(imports), "check": check}
        more |= outcome.result.counts.to_dict()
        say_json(outcome_dict(outcome, **more))
        return
    lines = [headline(outcome, "samples", "nothing to convert"), f"  dataset      {dataset}/"]
    lines += ledger_lines(outcome, "every failed sample is a row of metadata/ with its reason")
    lines += _count_lines(outcome.result.counts)
    shown = [f"  {line}" for line in imports[:MAX_IMPORTS]]
    if len(imports) > MAX_IMPORTS:
        more_packages = len(imports) - MAX_IMPORTS
        shown.append(f"  … and {more_packages} more; each package is for a task of its own")
    how = ["  next, to import:", *shown] if shown else []
    click.echo("\n".join([*lines, *(proof.lines() if proof else []), *how]))


def _count_lines(counts: "Yield") -> list[str]:
    """The pictures that were copied, and what was left out: the most first."""
    from maskmill.pipeline.datasets.left_out import sentence
    from maskmill.schemas.text import printable

    lines = [f"  pictures     {counts.pictures:,} copied"] if counts.pictures else []
    most = sorted(counts.left_out.items(), key=lambda entry: (-entry[1], entry[0]))
    told = [f"    {printable(sentence(one, count))}" for one, count in most if count]
    if not told:
        return lines
    more = [f"    … and {len(told) - MAX_KINDS} kinds more"] if len(told) > MAX_KINDS else []
    return [*lines, "  left out:", *told[:MAX_KINDS], *more]


def _say_formats(as_json: bool) -> None:
    rows = {
        name: {
            "summary": entry.summary,
            "from": entry.can_read,
            "to": entry.can_write,
            "holds_ignore": entry.holds_ignore,
            "max_classes": entry.max_classes,
        }
        for name, entry in DATASET_FORMATS.items()
    }
    if as_json:
        say_json(rows)
        return
    for name, row in rows.items():
        ways = "/".join(way for way in ("from", "to") if row[way])
        click.echo(f"{name:<24} {ways:<8} {row['summary']}")
