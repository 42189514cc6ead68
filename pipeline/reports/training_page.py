"""A fine-tuning as one self-contained HTML page: curves, classes and pictures, before and after."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from maskmill.pipeline.audit.pair import resized_nearest
from maskmill.pipeline.audit.report.changes import change_colors
from maskmill.pipeline.audit.report.thumbnails import jpeg_uri, png_uri, shrunk
from maskmill.pipeline.pictures.preview import fitted
from maskmill.pipeline.prelabel.writers.overlay import overlay_image
from maskmill.pipeline.reports.curves import Plot, plot
from maskmill.pipeline.reports.page import FAILURES_SHOWN, template_environment
from maskmill.pipeline.review.display_colors import displayed
from maskmill.pipeline.training.checkpoint import Progress, step_rows
from maskmill.pipeline.training.result import REPORT
from maskmill.pipeline.training.showcase import Shown, worst_pictures
from maskmill.pipeline.training.task import TrainingTask
from maskmill.schemas.labels import LabelClass, LabelMap

SIDE: Final = 384  # pixels of the longer side of a picture
_OPACITY: Final = 110  # of 255
MOST_CURVES: Final = 12
"""More classes than that have no curves of their own: nobody could tell them apart."""


def write_training_report(task: TrainingTask, progress: Progress, card: Mapping[str, Any]) -> str:
    """Write ``report.html`` into the run's folder; its full path. Needs a kept epoch."""
    page = training_page(task, progress, card)
    task.layout.write(REPORT, page.encode("utf-8", "surrogateescape"))
    return task.layout.path(REPORT)


def training_page(task: TrainingTask, progress: Progress, card: Mapping[str, Any]) -> str:
    """The page as text; ``card`` is model.json of the result."""
    labels = displayed(task.labels)
    drawn = [_figure(one, labels) for one in worst_pictures(task, progress)]
    return template_environment().get_template("training.html").render(
        card=card, training=card["training"], history=progress.history,
        plots=[one for one in _plots(task, progress, labels) if one],
        classes=list(_classes(card, labels)), waiting=waiting_share(task),
        pictures=drawn, failures=list(_failures(task))[:FAILURES_SHOWN], samples=_samples(task),
    )  # fmt: skip


def waiting_share(task: TrainingTask) -> float | None:
    """Of the time of all steps, what the network waited for data; None without steps."""
    rows = step_rows(task.layout)
    whole = sum(one or 0.0 for one in rows["step_ms"].to_pylist())
    return sum(one or 0.0 for one in rows["wait_ms"].to_pylist()) / whole if whole else None


def _plots(task: TrainingTask, progress: Progress, labels: LabelMap) -> Iterator[Plot | None]:
    rows = step_rows(task.layout).select(["step", "loss", "rate"]).to_pylist()
    kept = progress.kept["epoch"] if progress.kept else None
    losses = [(float(row["step"]), row["loss"]) for row in rows]
    top = max((loss for _, loss in losses), default=0.0)
    yield plot("loss of a step", {"loss": losses}, bounds=(0.0, top or 1.0))
    rates = [(float(row["step"]), row["rate"]) for row in rows]
    yield plot("learning rate of a step", {"rate": rates}, bounds=(0.0, task.learning_rate))
    told = [(float(one["epoch"]), one) for one in progress.history]
    miou = [(epoch, one["miou"]) for epoch, one in told if one["miou"] is not None]
    yield plot("mIoU after an epoch", {"mIoU": miou}, bounds=(0.0, 1.0), mark=kept)
    if len(labels.classes) <= MOST_CURVES:
        curves = {
            entry.name: [
                (epoch, one["iou"][entry.index])
                for epoch, one in told
                if one["iou"][entry.index] is not None
            ]
            for entry in labels.classes
        }
        colors = {entry.name: _css(entry) for entry in labels.classes}
        yield plot("IoU of classes", curves, colors=colors, bounds=(0.0, 1.0), mark=kept)


def _classes(card: Mapping[str, Any], labels: LabelMap) -> Iterator[dict[str, Any]]:
    for entry in labels.classes:
        before, after = (card[name]["iou"][entry.name] for name in ("before", "scores"))
        known = before["value"] is not None and after["value"] is not None
        yield {
            "name": entry.name,
            "color": _css(entry),
            "before": before["value"],
            **{f"after_{name}": value for name, value in after.items()},
            "change": after["value"] - before["value"] if known else None,
        }


def _figure(one: Shown, labels: LabelMap) -> dict[str, Any]:
    truth = shrunk(one.truth)
    before, after = (resized_nearest(mask, truth.shape) for mask in (one.before, one.after))
    picture = fitted(one.pixels, (truth.shape[0], truth.shape[1]))
    masks = {"truth": truth, "before": before, "after": after}
    over = {name: overlay_image(picture, mask, labels, opacity=_OPACITY)
            for name, mask in masks.items()}  # fmt: skip
    change = change_colors(truth, before, after, len(labels.classes))
    present = np.unique(np.concatenate([mask.ravel() for mask in masks.values()]))
    return {
        "key": one.key,
        "before": one.miou_before,
        "after": one.miou_after,
        "pictures": {"picture": jpeg_uri(picture)}
        | {name: jpeg_uri(pixels) for name, pixels in over.items()}
        | {"change": png_uri(change)},
        "classes": [
            {"name": entry.name, "color": _css(entry)}
            for entry in labels.classes
            if entry.index in present and not entry.is_background
        ],
    }


def _samples(task: TrainingTask) -> dict[str, int]:
    """Good samples by role, and the failed ones."""
    found: dict[str, int] = {}
    for table in task.layout.committed_rows(["role", "status"]):
        for row in table.to_pylist():
            name = row["role"] if row["status"] == "ok" else "failed"
            found[name] = found.get(name, 0) + 1
    return found


def _failures(task: TrainingTask) -> Iterator[dict[str, Any]]:
    for table in task.layout.committed_rows(["key", "status", "error_code", "error_message"]):
        yield from (row for row in table.to_pylist() if row["status"] == "failed")


def _css(entry: LabelClass) -> str:
    """The background has the page's grey: its own colour is that of one of the two pages."""
    return "var(--soft)" if entry.is_background else f"rgb({','.join(map(str, entry.color))})"
