"""What a training leaves behind: OUT/model, a model like any other, with its card."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
from safetensors.torch import save

from maskmill.pipeline.metrics.intervals import Bootstrap, interval_of
from maskmill.pipeline.metrics.registry import METRICS
from maskmill.pipeline.metrics.totals import TotalsLayout
from maskmill.pipeline.models.model_folder import CARD, WEIGHTS, spec_document
from maskmill.pipeline.runs.identity import deciding_settings
from maskmill.pipeline.runs.record import tool_version
from maskmill.pipeline.training.checkpoint import (
    Progress,
    load_checkpoint,
    load_kept,
    validation_rows,
)
from maskmill.pipeline.training.task import TrainingTask
from maskmill.pipeline.training.validation import vectors_of
from maskmill.schemas.labels import LabelMap

FOLDER: Final = "model"
LABELS: Final = "labels.json"
PAGE: Final = "README.md"
REPORT: Final = "report.html"

_TOLD: Final = (
    "data", "data_manifest", "samples", "steps", "best_epoch", "best", "kept_epoch", "kept",
    "tool_version",
)  # fmt: skip
"""Facts that stand in the sentences of the card, and not among its settings."""


class Reporter(Protocol):
    """Who writes OUT/report.html: a page, which is built on more than training is."""

    def __call__(self, task: TrainingTask, progress: Progress, card: Mapping[str, Any]) -> None:
        """Write the page of a training that has a kept epoch."""


def laid_out(task: TrainingTask, reporter: Reporter) -> dict[str, Any] | None:
    """OUT/model of the last checkpoint, and its page; None where no epoch was finished."""
    found = load_checkpoint(task.layout, task.fingerprint)
    if not found or not found[0].kept:
        return None
    card = write_model(task, found[0])
    reporter(task, found[0], card)
    return card


def write_model(task: TrainingTask, progress: Progress) -> dict[str, Any]:
    """Lay out the kept weights as OUT/model; the document of its model.json.

    model.json comes last: what it names is there. Needs a kept epoch.
    """
    layout, kept = task.layout, progress.kept
    if kept is None:
        raise ValueError("no validation after the first step")
    state = load_kept(layout, int(kept["step"]))
    data = save({name: value.contiguous() for name, value in state.items()})
    origin = task.choice.spec.weights
    document = {
        **spec_document(
            task.spec,
            task.labels,
            sha256=hashlib.sha256(data).hexdigest(),
            licence=origin.licence if origin else "that of the weights it began from",
        ),
        "parent": {
            "name": task.choice.title,
            "weights_sha256": task.choice.weights_sha256,
            "kind": task.choice.weights_kind,
        },
        "training": _facts(task, progress),
        "scores": _scores(task, int(kept["epoch"])),
        "before": _scores(task, 0),
    }
    layout.write(f"{FOLDER}/{WEIGHTS}", data)
    labels = json.dumps(task.labels.to_dict(), ensure_ascii=False, indent=1)
    layout.write(f"{FOLDER}/{LABELS}", labels.encode())
    layout.write(f"{FOLDER}/{PAGE}", _page(document).encode())
    text = json.dumps(document, ensure_ascii=False, indent=1)
    layout.write(f"{FOLDER}/{CARD}", text.encode())
    return document


def _scores(task: TrainingTask, epoch: int) -> dict[str, Any]:
    return scores_of(validation_rows(task.layout, epoch), task.labels, epoch)


def scores_of(rows: pa.Table, labels: LabelMap, epoch: int) -> dict[str, Any]:
    """mIoU and the IoU of each class on the validation pictures, with 95 % intervals."""
    vectors = vectors_of(rows.to_pylist(), labels)
    layout = TotalsLayout.of(labels)
    bootstrap = Bootstrap(len(vectors), layout.size)
    bootstrap.feed(vectors)
    whole, drawn = layout.split(vectors.sum(axis=0)), layout.split(bootstrap.sums())
    per_class = METRICS["iou"].per_class
    if per_class is None:
        raise TypeError("IoU is per class")
    classes, intervals = per_class(whole), per_class(drawn)
    return {
        "epoch": epoch,
        "images": len(vectors),
        "miou": _scored(METRICS["miou"].score(whole), METRICS["miou"].score(drawn)),
        "iou": {
            name: _scored(classes[index], intervals[:, index])
            for index, name in enumerate(labels.names)
        },
    }


def _scored(value: Any, drawn: Any) -> dict[str, float | None]:
    interval = interval_of(np.atleast_1d(drawn))
    known = bool(np.isfinite(value))
    return {
        "value": float(value) if known else None,
        "low": interval.low if known else None,
        "high": interval.high if known else None,
    }


def _facts(task: TrainingTask, progress: Progress) -> dict[str, Any]:
    """What was learnt from, how far it came, and every setting as it was in the end."""
    return {
        "fingerprint": task.fingerprint,
        "data": task.data.request.source,
        "data_manifest": task.inputs,
        "samples": task.samples,
        "steps": progress.step,
        "epochs": task.epochs,
        "best_epoch": progress.best["epoch"] if progress.best else None,
        "best": progress.best["monitor"] if progress.best else None,
        "kept_epoch": progress.kept["epoch"] if progress.kept else None,
        "kept": progress.kept["monitor"] if progress.kept else None,
        "ended": progress.ended,
        **_settings(task),
        "tool_version": tool_version(),
    }


def _settings(task: TrainingTask) -> dict[str, Any]:
    """As asked for, and what was left open as it was decided."""
    return {
        **deciding_settings(task.recipe),
        "epochs": task.epochs,
        "image_size": task.spec.preprocessing.size,
        "crop_size": task.crop,
        "learning_rate": task.learning_rate,
        "warm_up": task.warm_up,
        "batch_norm": task.batch_norm,
        "precision": task.precision,
        "device": task.device,
        "threads": task.threads,
        "workers": task.workers,
    }


def _page(card: Mapping[str, Any]) -> str:
    """The model card, for people."""
    training, parent = card["training"], card["parent"]
    lines = [
        f"# {card['name']}",
        "",
        f"{card['architecture']}, fine-tuned by maskmill {training['tool_version']} from "
        f"{parent['name']}"
        + (f" (sha256 {parent['weights_sha256']})." if parent["weights_sha256"] else "."),
        "",
        f"Licence of the weights it began from: {card['licence']}. The data it learnt from has a "
        "licence of its own, which is not known here.",
        "",
        f"Weights: `{card['weights']}`, sha256 {card['sha256']}.",
        "Use: `maskmill prelabel SOURCE OUT --model FOLDER` with this folder.",
        "",
        f"Learnt from {training['samples']} pictures in {training['steps']} steps; the weights are",
        f"those of epoch {training['kept_epoch']}, {_choice(training)} on "
        f"{card['scores']['images']} other pictures.",
        "Since they chose the epoch, the scores flatter it a little: audit it on pictures that it "
        "has never met.",
        "",
        "| class | IoU before | IoU after | 95 % interval |",
        "|---|---|---|---|",
        _score_line("all (mean)", card["before"]["miou"], card["scores"]["miou"]),
        *(
            _score_line(name, card["before"]["iou"][name], score)
            for name, score in card["scores"]["iou"].items()
        ),
    ]
    lines += ["", *_setting_lines(training)]
    return "\n".join(lines) + "\n"


def _setting_lines(training: Mapping[str, Any]) -> list[str]:
    return [
        f"Data: {training['data']}; in all {training['data_manifest']} (the manifest's sha256).",
        "",
        "| setting | value |",
        "|---|---|",
        *(f"| {name} | {_cell(training[name])} |" for name in training if name not in _TOLD),
    ]


def _cell(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text.replace("|", "\\|")


def _choice(training: Mapping[str, Any]) -> str:
    """Why its weights and no others."""
    if training["kept_epoch"] == training["best_epoch"]:
        return f"the best by {training['monitor']}"
    return (
        f"the last that {training['monitor']} cannot tell from the best (epoch "
        f"{training['best_epoch']}, {training['best']:.3f})"
    )


def _score_line(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    low, high = (_shown(after[end]) for end in ("low", "high"))
    old, new = (_shown(one["value"]) for one in (before, after))
    return f"| {_cell(name)} | {old} | {new} | {low} to {high} |"


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
