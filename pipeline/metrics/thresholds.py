"""--fail-under: the numbers an audit must reach, and which it missed."""

from dataclasses import dataclass
from typing import Any

from maskmill.pipeline.metrics.registry import METRICS, metric_of
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap


@dataclass(frozen=True, slots=True)
class Threshold:
    """A metric, of one class or of the dataset, and the value it must reach."""

    metric: str
    label: str | None
    value: float


def parse_thresholds(text: str, labels: LabelMap) -> tuple[Threshold, ...]:
    """``0.6`` (a bare number is the mIoU) or ``miou=0.6,iou/person=0.8,boundary_iou=0.5``.

    Raises:
        SettingsError: no such metric or class, a metric without classes, or no number in 0..1.
    """
    return tuple(_threshold(part.strip(), labels) for part in text.split(",") if part.strip())


def _threshold(part: str, labels: LabelMap) -> Threshold:
    name, equals, number = part.rpartition("=")
    metric, slash, label = (name if equals else "miou").partition("/")
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise SettingsError(f"--fail-under {part!r}: write NAME=NUMBER with a number from 0 to 1")
    if slash:
        labels.index_of(label)
        if metric_of(metric).per_class is None:
            known = ", ".join(key for key, one in METRICS.items() if one.per_class)
            raise SettingsError(f"{metric!r} is not known per class; there are: {known}")
    else:
        metric_of(metric)
    return Threshold(metric, label if slash else None, value)


def missed_thresholds(thresholds: tuple[Threshold, ...], document: dict[str, Any]) -> list[str]:
    """A sentence for each number that was not reached; a number that is null is not reached."""
    missed = []
    for threshold in thresholds:
        value = _value(threshold, document)
        lower = METRICS[threshold.metric].lower_is_better
        reached = value is not None and (
            value <= threshold.value if lower else value >= threshold.value
        )
        if not reached:
            name = f"{threshold.metric}/{threshold.label}" if threshold.label else threshold.metric
            got = "has no value" if value is None else f"is {value:.4f}"
            asked = "at most" if lower else "at least"
            missed.append(f"{name} {got}, asked was {asked} {threshold.value:g}")
    return missed


def _value(threshold: Threshold, document: dict[str, Any]) -> float | None:
    if threshold.label is None:
        value: float | None = document["metrics"][threshold.metric]["value"]
        return value
    entry = next(one for one in document["classes"] if one["name"] == threshold.label)
    value = entry[threshold.metric]["value"]
    return value
