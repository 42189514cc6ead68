"""`maskmill verify`: prove that rows, files, COCO document and inputs of a run agree."""

import sys
from typing import TYPE_CHECKING

import click

from maskmill.jobs.options import exits_cleanly, json_option, say_json
from maskmill.schemas.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maskmill.pipeline.runs.checks import Checked
    from maskmill.pipeline.runs.layout import RunLayout

MAX_SHOWN = 20
NOUNS = {"convert": "samples", "audit": "pairs", "finetune": "samples"}
"""What a run of these commands counts; the others count images."""


@click.command()
@click.argument("out")
@click.option("--inputs", is_flag=True, help="Read every input again and compare its hash as well.")
@json_option
@exits_cleanly
def verify(out: str, inputs: bool, as_json: bool) -> None:
    """Prove that the run in OUT is whole: rows = files = COCO = inputs.

    Every mask is hashed and decoded, every RLE compared with its PNG, areas and boxes computed
    anew, the COCO document made again and compared byte for byte. OUT of `convert`: every file of
    every row, the ledger and the documents. OUT of `finetune`: every step once, the model's hash,
    and its scores from the rows. OUT of `audit`: pairs = rows, and that the confusion
    matrix is their sum. OUT of `pull`: rows and masks.

    \b
    Example:
      maskmill verify labels/

    \b
    Exit codes: 0 all agrees, 1 something does not, 2 usage.
    """
    from maskmill.jobs.progress import progress_meter
    from maskmill.pipeline.audit.proof import verify_audit
    from maskmill.pipeline.convert.proof import verify_conversion
    from maskmill.pipeline.exchange.proof import verify_pull
    from maskmill.pipeline.prelabel.proof import verify_run
    from maskmill.pipeline.runs.layout import RunLayout
    from maskmill.pipeline.runs.record import load_record

    layout = RunLayout(out)
    record = load_record(layout)
    total = int(record.ledger.get("inputs", 0)) if record else 0
    command = record.command if record else ""
    proofs = {
        "convert": lambda: verify_conversion(layout),
        "audit": lambda: verify_audit(out),
        "pull": lambda: verify_pull(layout),
        "finetune": lambda: _verify_finetune(layout),
    }
    steps = proofs.get(command, lambda: verify_run(layout, inputs=inputs))()
    problems: list[str] = []
    checked = 0
    noun = NOUNS.get(command, "images")
    with progress_meter(total, 0, "verify", noun) as meter:
        for step in steps:
            checked += step.items
            problems += step.problems
            meter.advance(step.items, len(step.problems))
    if as_json:
        say_json({"out": out, noun: checked, "problems": problems})
    else:
        _say(out, f"{checked:,} {noun}", problems)
    if problems:
        sys.exit(1)


def _verify_finetune(layout: "RunLayout") -> "Iterator[Checked]":
    from maskmill.pipeline.training.proof import verify_finetune  # torch is heavy

    return verify_finetune(layout)


def _say(out: str, checked: str, problems: list[str]) -> None:
    if not problems:
        click.echo(f"{printable(out)}: {checked} verified: rows, files and documents agree")
        return
    click.echo(f"{printable(out)}: {len(problems):,} problems in {checked}")
    for problem in problems[:MAX_SHOWN]:
        click.echo(f"  {printable(problem)}")
    if len(problems) > MAX_SHOWN:
        click.echo(f"  … and {len(problems) - MAX_SHOWN:,} more; --json lists all")
