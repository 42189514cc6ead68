"""`maskmill prelabel`: options -> PrelabelConfig -> run -> summary and exit code."""

from typing import Any

import click

from maskmill.jobs.labelling import carry_out
from maskmill.jobs.options import engine_options, exits_cleanly, failure_options, json_option
from maskmill.jobs.video_options import video_options
from maskmill.pipeline.models.registry import DEFAULT_MODEL
from maskmill.pipeline.prelabel.writers.registry import COCO, SIDE_TABLES, STORES, VIDEO, WRITERS
from maskmill.pipeline.views.plan import (
    AUTO_WINDOW,
    AUTO_WINDOW_PIXELS,
    DEFAULT_OVERLAP,
    MAX_OVERLAP,
    OUTPUT_STRIDES,
    SCALE_RANGE,
)

MIN_WINDOW = 64
WRITTEN = (*WRITERS, *SIDE_TABLES, VIDEO)


def _writers(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    unknown = [name for name in names if name not in WRITTEN]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}; there are: {', '.join(WRITTEN)}")
    return ("masks", *(name for name in WRITTEN if name in names and name != "masks"))


def _scales(_: click.Context, __: click.Parameter, value: str) -> tuple[float, ...]:
    least, most = SCALE_RANGE
    try:
        scales = sorted({float(part) for part in value.split(",")})
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a list of numbers like 0.5,1,1.5") from error
    if not all(least <= scale <= most for scale in scales):
        raise click.BadParameter(f"scales lie between {least:g} and {most:g}")
    return tuple(scales)


def _window(_: click.Context, __: click.Parameter, value: int | None) -> int | None:
    if value is not None and 0 < value < MIN_WINDOW:
        raise click.BadParameter(
            f"{value} is too small: {MIN_WINDOW} or more, or 0 for none at all"
        )
    return value


@click.command()
@click.argument("source")
@click.argument("out")
@click.option(
    "--model",
    metavar="NAME",
    help=f"A name of `maskmill models list`. [default: what --weights are, else {DEFAULT_MODEL}]",
)
@click.option(
    "--weights",
    metavar="FILE",
    help="Your own weights; what network they are is read from them (docs/models.md).",
)
@click.option(
    "--network-option",
    "network_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="What weights do not tell of their network, as rates=6,12,18 (docs/models.md). Can be "
    "given again.",
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
@video_options
@click.option(
    "--gpus-per-worker",
    type=click.FloatRange(0, 1),
    help="Share of a GPU for each worker; 0: none. [default: 1 where there are GPUs]",
)
@click.option(
    "--accelerator-type",
    metavar="NAME",
    help="Of a cluster with several kinds of GPU use this one, as Ray names it: A100, H100, L4.",
)
@click.option(
    "--threads-per-worker",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="CPU threads of each worker.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="Images per forward. [default: 1 on CPU; on GPU 8, or 2 where networks see many shapes]",
)
@click.option(
    "--image-size",
    type=click.IntRange(33, 4097),
    help="Network input size. [default: the model's own]",
)
@click.option(
    "--exact-decode",
    is_flag=True,
    help="Decode all pixels of large JPEGs, also where the network needs fewer.",
)
@click.option(
    "--output-stride",
    type=click.Choice([str(stride) for stride in OUTPUT_STRIDES]),
    callback=lambda _, __, value: None if value is None else int(value),
    help="Input pixels per feature of the encoder: 8 is finer, 16 quicker. [default: the model's]",
)
@click.option(
    "--scales",
    default="1",
    show_default=True,
    callback=_scales,
    metavar="LIST",
    help="Show each picture at these multiples of the input size and average, as 0.5,1,1.5.",
)
@click.option("--flip", is_flag=True, help="Show each picture mirrored too, and average.")
@click.option(
    "--window",
    type=click.IntRange(0),
    callback=_window,
    metavar="PX",
    help="Cut larger pictures into windows of so many of their own pixels; 0: never. "
    f"[default: {AUTO_WINDOW} above {AUTO_WINDOW_PIXELS // 10**6} megapixels]",
)
@click.option(
    "--overlap",
    type=click.FloatRange(0, MAX_OVERLAP),
    default=DEFAULT_OVERLAP,
    show_default=True,
    help="Least share of a window that its neighbour has too; there they blend.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Models of two classes: the second wins where its probability is above. [default: 0.5]",
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
    help=f"Comma-separated, of: {', '.join(WRITTEN)}.",
)
@click.option("--report", is_flag=True, help="Write OUT/report/index.html too: a page to look at.")
@click.option(
    "--store",
    type=click.Choice(STORES),
    help="files: one per image and writer. shards: one tar per block, for millions of images or a "
    "bucket. [default: files, or as the run began]",
)
@click.option(
    "--coco",
    type=click.Choice(COCO),
    help="annotations.json of the run, a document for each block, or none. [default: one, or as "
    "the run began]",
)
@click.option(
    "--block-images",
    type=click.IntRange(1),
    help="Images that commit together. [default: 32, in shards 128; with --scales or --flip fewer]",
)
@click.option(
    "--max-pixels",
    type=click.FloatRange(0, min_open=True),
    default=128.0,
    show_default=True,
    metavar="MP",
    callback=lambda _, __, megapixels: int(megapixels * 1e6),
    help="Larger images, by their header, become failed rows.",
)
@click.option(
    "--skip",
    multiple=True,
    metavar="LIST|DATASET",
    help="Leave out the images that a text list or a data set names. Can be given again.",
)
@click.option(
    "--skip-duplicates",
    is_flag=True,
    help="Label one of several images that are alike; every picture is decoded once to find out.",
)
@click.option("--limit", type=click.IntRange(1), help="Only the first N images of the source.")
@click.option(
    "--extend", is_flag=True, help="The source has grown: add its new images to this run."
)
@failure_options("images")
@click.option(
    "--dry-run", is_flag=True, help="Say what would be done and written, and write nothing."
)
@engine_options
@json_option
@exits_cleanly
def prelabel(as_json: bool, dry_run: bool, allow_failures: bool, **options: Any) -> None:
    """Label every image of SOURCE with a DeepLab model; masks, COCO and rows go to OUT.

    SOURCE is a folder, a glob, an image, a video, a text list of paths, a COCO json, a VOC
    ImageSets list, or a URI of one of them. Each frame of a video is an image. The same command
    again continues where it was; nothing is done twice.

    \b
    Examples:
      maskmill prelabel photos/ labels/
      maskmill prelabel 'photos/**/*.jpg' labels/ --write masks,overlays
      maskmill prelabel todo.txt labels/ --model deeplabv3_resnet101 --weights mine.pth
      maskmill prelabel photos/ labels/ --scales 0.75,1,1.25 --flip
      maskmill prelabel scans/ labels/ --window 1024 --max-pixels 400
      maskmill prelabel photos/ labels/ --skip corrected/ --skip-duplicates
      maskmill prelabel clip.mp4 labels/ --every 10 --write frames,video
      maskmill prelabel photos/ labels/ --retry-failed

    \b
    Exit codes: 0 done, 1 the run broke, 2 usage, 3 done but some images failed.
    """
    carry_out("prelabel", options, as_json=as_json, dry_run=dry_run, allow_failures=allow_failures)
