"""`maskmill prelabel`: options -> PrelabelConfig -> run -> summary and exit code."""

import sys
from typing import Any

import click

from jobs.options import (
    EXIT_FAILED_ROWS,
    address_option,
    exits_cleanly,
    json_option,
    say_json,
)
from pipeline.models.registry import DEFAULT_MODEL
from pipeline.writers.registry import WRITERS


def _writers(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    unknown = [name for name in names if name not in WRITERS]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}; there are: {', '.join(WRITERS)}")
    return ("masks", *(name for name in WRITERS if name in names and name != "masks"))


@click.command()
@click.argument("source")
@click.argument("out")
@click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, help="A name of `maskmill models list`."
)
@click.option(
    "--weights",
    metavar="FILE",
    help="Your own weights for the model (safetensors, or a plain state dict).",
)
@click.option(
    "--labels", metavar="FILE", help="Label map of your weights: a file, or a built-in name."
)
@click.option(
    "--untrained",
    is_flag=True,
    help="Run a model without weights, with random ones: for trying things out.",
)
@click.option(
    "--source-kind",
    metavar="KIND",
    help="What SOURCE is, where the guess is wrong; see docs/sources.md.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Worker processes that hold a network. [default: one per core, or per GPU]",
)
@click.option(
    "--gpus-per-worker",
    type=click.FloatRange(0),
    help="GPUs of each worker. [default: 1 where the cluster has GPUs, else 0]",
)
@click.option(
    "--threads-per-worker",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="CPU threads of each worker.",
)
@click.option(
    "--batch-size", type=click.IntRange(1), help="Images per forward. [default: 1 on CPU, 8 on GPU]"
)
@click.option(
    "--image-size",
    type=click.IntRange(33, 4097),
    help="Network input size. [default: the model's own]",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    show_default=True,
    help="auto: what the device does fast and right.",
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    help="Pixels below this top-1 confidence become ignore.",
)
@click.option(
    "--min-area",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="PX",
    help="Smaller connected components become background.",
)
@click.option(
    "--segments",
    type=click.Choice(["class", "component"]),
    default="class",
    show_default=True,
    help="One COCO annotation per class or per connected component.",
)
@click.option(
    "--write",
    "writers",
    default="masks",
    show_default=True,
    callback=_writers,
    metavar="NAMES",
    help=f"Comma-separated, of: {', '.join(WRITERS)}.",
)
@click.option(
    "--block-images",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Images that commit together.",
)
@click.option(
    "--max-pixels",
    type=click.FloatRange(0, min_open=True),
    default=128.0,
    show_default=True,
    metavar="MP",
    help="Larger images, by their header, become failed rows.",
)
@click.option("--limit", type=click.IntRange(1), help="Only the first N images of the source.")
@click.option("--retry-failed", is_flag=True, help="Do the failed images of this run again.")
@click.option(
    "--extend", is_flag=True, help="The source has grown: add its new images to this run."
)
@click.option("--allow-failures", is_flag=True, help="Exit with 0 although some images failed.")
@click.option(
    "--dry-run", is_flag=True, help="Say what would be done and written, and write nothing."
)
@address_option
@json_option
@exits_cleanly
def prelabel(as_json: bool, dry_run: bool, **options: Any) -> None:
    """Label every image of SOURCE with a DeepLab model; masks, COCO and rows go to OUT.

    SOURCE is a folder, a glob, an image, a text list of paths, a COCO json, a VOC ImageSets list,
    or a URI of one of them. The same command again continues where it was; nothing is done twice.

    \b
    Examples:
      maskmill prelabel photos/ labels/
      maskmill prelabel 'photos/**/*.jpg' labels/ --write masks,overlays
      maskmill prelabel todo.txt labels/ --model deeplabv3_resnet101 --weights mine.pth
      maskmill prelabel photos/ labels/ --retry-failed

    \b
    Exit codes: 0 done, 1 the run broke, 2 usage, 3 done but some images failed.
    """
    # Arrow, torch and Ray are heavy; --help is not to wait for them.
    from jobs.prelabel_config import PrelabelConfig
    from jobs.prelabel_plan import dry_run as report_plan
    from jobs.prelabel_plan import dry_run_text
    from jobs.prelabel_run import run

    megapixels = options.pop("max_pixels")
    config = PrelabelConfig(**options, max_pixels=int(megapixels * 1e6))
    if dry_run:
        report = report_plan(config)
        say_json(report) if as_json else click.echo(dry_run_text(report))
        return
    summary = run(config)
    say_json(summary.to_dict()) if as_json else click.echo(summary.text())
    if summary.ledger.failed and not config.allow_failures:
        sys.exit(EXIT_FAILED_ROWS)
