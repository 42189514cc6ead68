"""`maskmill finetune`: options -> FinetuneJob -> run -> summary and exit code."""

import sys
from typing import TYPE_CHECKING, Any

import click

from maskmill.jobs.dataset_options import dataset_options
from maskmill.jobs.options import (
    EXIT_BELOW_THRESHOLD,
    EXIT_FAILED_ROWS,
    exits_cleanly,
    failure_options,
    json_option,
    say_json,
)
from maskmill.jobs.training_workers import chosen_workers, worker_options
from maskmill.pipeline.datasets.registry import readable_formats

if TYPE_CHECKING:
    from maskmill.jobs.run import Outcome
    from maskmill.pipeline.training.job import Finetuned

MAX_CLASSES = 6

_DATA = ("from_format", "labels", "map_file", "unknown", "images", "mask_suffix")
_MODEL = ("model", "weights", "untrained")
_SPLIT = ("train_on", "validate_on", "validation_share")


def _names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(one.strip() for one in (value or "").split(",") if one.strip())


def _scales(_: click.Context, __: click.Parameter, value: str) -> tuple[float, float]:
    try:
        low, high = (float(one) for one in value.split(","))
    except ValueError as error:
        raise click.BadParameter("give the smallest and the largest factor, as 0.5,2") from error
    return low, high


def _written(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = _names(_, __, value)
    unknown = [one for one in names if one != "tensorboard"]
    if unknown:
        raise click.BadParameter(f"{unknown[0]} is not known; there is: tensorboard")
    return names


@click.command()
@click.argument("source", metavar="DATA")
@click.argument("out")
@click.option("--model", metavar="NAME|DIR", help="A named model, or OUT/model of an earlier run.")
@click.option("--weights", metavar="FILE", help="Weights of your own to begin from.")
@click.option("--untrained", is_flag=True, help="Begin from random weights.")
@click.option(
    "--from",
    "from_format",
    type=click.Choice(["auto", *readable_formats()]),
    metavar="FORMAT",
    default="auto",
    help="What DATA is, as for convert. [default: what it looks like]",
)
@dataset_options
@click.option(
    "--resize",
    type=click.Choice(["refuse", "nearest"]),
    default="refuse",
    show_default=True,
    help="Masks of another size than their picture: failed rows, or scaled.",
)
@click.option("--train-on", metavar="SPLIT,…", callback=_names, help="[default: train…]")
@click.option("--validate-on", metavar="SPLIT,…", callback=_names, help="[default: val…]")
@click.option(
    "--validation-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Share measured on where no split is for that; stable per key.",
)
@click.option("--epochs", type=click.IntRange(1), help="[default: some minutes on a CPU]")
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True)
@click.option("--image-size", type=click.IntRange(33, 4097), help="Of the new model's input.")
@click.option("--crop-size", type=click.IntRange(33, 4097), help="Of what the network learns from.")
@click.option("--scales", default="0.5,2", show_default=True, callback=_scales, metavar="LOW,HIGH")
@click.option("--flip/--no-flip", default=True, help="Mirror half of the pictures. [default: flip]")
@click.option(
    "--jitter",
    type=click.FloatRange(0, 0.9),
    default=0.0,
    show_default=True,
    help="Largest change of brightness, contrast and saturation.",
)
@click.option(
    "--loss",
    type=click.Choice(["ce", "dice_ce", "dice_bce"]),
    default="ce",
    show_default=True,
    help="Cross-entropy, alone or with Dice.",
)
@click.option(
    "--class-weights",
    default="none",
    show_default=True,
    metavar="none|inverse|median|FILE",
    help="What classes count in the cross-entropy; FILE is JSON, name -> weight.",
)
@click.option(
    "--optimizer", type=click.Choice(["sgd", "adamw"]), default="adamw", show_default=True
)
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="At its highest.")
@click.option(
    "--head-rate", type=click.FloatRange(0, min_open=True), default=4.0, show_default=True
)
@click.option("--weight-decay", type=click.FloatRange(0), default=1e-4, show_default=True)
@click.option(
    "--schedule", type=click.Choice(["poly", "constant"]), default="poly", show_default=True
)
@click.option("--warm-up", type=click.IntRange(0), metavar="STEPS", help="[default: a twentieth]")
@click.option(
    "--clip",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Bound of the gradients' norm; 0 for none.",
)
@click.option(
    "--average",
    type=click.FloatRange(0, 0.9999),
    default=0.99,
    show_default=True,
    help="Decay of the moving average of the weights, which is the result; 0 for none.",
)
@click.option(
    "--batch-norm",
    type=click.Choice(["auto", "frozen", "train", "sync"]),
    default="auto",
    show_default=True,
    help="auto: frozen below 16 pictures per worker; sync: learns from those of all workers.",
)
@click.option("--monitor", default="miou", show_default=True, help="Best by: miou, iou/NAME, …")
@click.option(
    "--keep",
    type=click.Choice(["level", "best"]),
    default="level",
    show_default=True,
    help="The epoch that is the result: the last one level with the best within one standard "
    "error, or the best.",
)
@click.option("--patience", type=click.IntRange(0), default=0, help="End after N worse epochs.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    show_default=True,
)
@click.option("--threads", type=click.IntRange(1), help="Per worker. [default: the cores, shared]")
@worker_options
@click.option("--max-pixels", type=click.IntRange(1), default=128_000_000, show_default=True)
@click.option("--fail-under", type=click.FloatRange(0, 1), help="Exit with 4 below this --monitor.")
@failure_options("samples")
@click.option(
    "--write",
    metavar="tensorboard",
    callback=_written,
    help="Beside the rows: events for TensorBoard, in OUT/tensorboard.",
)
@json_option
@exits_cleanly
def finetune(as_json: bool, fail_under: float | None, **options: Any) -> None:
    """Train a model further on the pictures and masks of DATA; OUT/model is the result.

    DATA is anything that convert reads and that has pictures. Every sample is looked at first: bad
    ones are failed rows. The best epoch on held-out pictures is kept. The same command again goes
    on where it was killed.

    \b
    Examples:
      maskmill finetune corrected.zip better/ --from cvat_mask --images photos/
      maskmill finetune VOC2012/ birds/ --from voc --map birds.txt --epochs 20
      maskmill prelabel photos/ labels/ --model better/model

    \b
    Exit codes: 0 done, 1 training stopped before its end, 2 usage, 3 done but some samples failed,
    4 below --fail-under.
    """
    from maskmill.jobs.run import run

    allow_failures = options.pop("allow_failures")
    how, job = _job(options)
    outcome = run(job, how)
    _say(outcome, as_json)
    kept = outcome.result.card["training"]["kept"]
    if fail_under is not None and (kept is None or kept < fail_under):
        click.echo(f"maskmill: {job.recipe.monitor} {kept} is below {fail_under:g}", err=True)
        sys.exit(EXIT_BELOW_THRESHOLD)
    if outcome.ledger.failed and not allow_failures:
        sys.exit(EXIT_FAILED_ROWS)


def _job(options: dict[str, Any]) -> Any:
    from maskmill.pipeline.convert.options import conversion_request
    from maskmill.pipeline.training.job import FinetuneJob
    from maskmill.pipeline.training.plan import HELD_AS, ModelWanted, Split
    from maskmill.pipeline.training.recipe import Recipe

    how, trainer, workers = chosen_workers(options)
    data = {name: options.pop(name) for name in _DATA if name in options}
    job = FinetuneJob(
        request=conversion_request(source=options.pop("source"), to_format=HELD_AS, **data),
        wanted=ModelWanted(**{name: options.pop(name) for name in _MODEL}),
        split=Split(**{name: options.pop(name) for name in _SPLIT}),
        out=options.pop("out"),
        recipe=Recipe(**options),
        trainer=trainer,
        reporter=_report,
        say=_note,
        workers=workers,
    )
    return how, job


def _report(task: Any, progress: Any, card: Any) -> None:
    from maskmill.pipeline.reports.training_page import write_training_report

    write_training_report(task, progress, card)


def _note(sentence: str) -> None:
    from maskmill.schemas.text import printable

    click.echo(f"note: {printable(sentence, lines=True)}", err=True)


def _say(outcome: "Outcome[Finetuned]", as_json: bool) -> None:
    from maskmill.jobs.summary import ledger_lines, outcome_dict

    model, card = outcome.result.model, outcome.result.card
    if as_json:
        told = {name: card[name] for name in ("name", "sha256", "training", "before", "scores")}
        say_json(outcome_dict(outcome, model=model, report=outcome.result.report, **told))
        return
    before, after = card["before"], card["scores"]
    lines = [f"{model}: {card['name']}, epoch {after['epoch']} of {card['training']['epochs']}"]
    lines.append(f"  mIoU {_change(before['miou'], after['miou'])} on {after['images']} pictures")
    for name, score in list(after["iou"].items())[:MAX_CLASSES]:
        lines.append(f"    {name:<20} {_change(before['iou'][name], score)}")
    if len(after["iou"]) > MAX_CLASSES:
        lines.append(f"    … and {len(after['iou']) - MAX_CLASSES} more in {model}/README.md")
    lines.append(f"  curves and pictures, before and after: {outcome.result.report}")
    lines += ledger_lines(outcome, "every failed sample is a row of metadata/ with its reason")
    lines.append(f"  next: maskmill prelabel SOURCE OUT --model {model}")
    click.echo("\n".join(lines))


def _change(before: dict[str, Any], after: dict[str, Any]) -> str:
    old, new = (
        "none" if one["value"] is None else f"{one['value']:.3f}" for one in (before, after)
    )
    return f"{old} -> {new}"
