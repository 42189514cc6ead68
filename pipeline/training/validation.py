"""Validation: the network's masks of the validation pictures, at their own size, counted."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from maskmill.pipeline.labelling.upsample import upsample_argmax
from maskmill.pipeline.metrics.confusion import (
    add_cells,
    count_pair,
    empty_matrix,
    nonzero_cells,
    value_table,
)
from maskmill.pipeline.metrics.registry import METRICS, metric_of
from maskmill.pipeline.metrics.totals import Sums, Totals, TotalsLayout, matrix_to_vector
from maskmill.pipeline.models.precision import DTYPES
from maskmill.pipeline.models.segmenter import network_input
from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.training.pairs import Pair
from maskmill.pipeline.views.preparation import grid_maps, prepare
from maskmill.schemas.arrays import ConfusionCounts, LabelMask, RgbImage
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """The number that decides which epoch is the best: a metric, of one class or of all.

    ``text`` is as for --fail-under: ``miou``, ``iou/person``.

    Raises:
        SettingsError: no such metric or class, or one that pixel counts do not give.
    """

    text: str
    labels: LabelMap

    def __post_init__(self) -> None:
        name, slash, label = self.text.partition("/")
        metric = metric_of(name)
        if slash:
            self.labels.index_of(label)
        if metric.needs != "pixels" or (slash and metric.per_class is None):
            known = ", ".join(key for key, one in METRICS.items() if one.needs == "pixels")
            raise SettingsError(
                f"--monitor {self.text}: take one of {known}; of one class dice/NAME, iou/NAME, "
                "precision/NAME or recall/NAME"
            )

    def values(self, totals: Totals) -> npt.NDArray[np.float64]:
        """The number of each of the sums, NaN where there is none."""
        name, slash, label = self.text.partition("/")
        metric = METRICS[name]
        if slash and metric.per_class is not None:
            return np.asarray(metric.per_class(totals)[..., self.labels.index_of(label)])
        return np.asarray(metric.score(totals), dtype=np.float64)

    def value(self, totals: Totals) -> float:
        """The number, NaN where there is none."""
        return float(self.values(totals))

    def told(self, totals: Totals) -> dict[str, Any]:
        """The number itself, mIoU and the IoU of each class; plain values, None for none."""
        per_class = METRICS["iou"].per_class
        return {
            "monitor": _or_none(self.value(totals)),
            "miou": _or_none(METRICS["miou"].score(totals)),
            "iou": [_or_none(one) for one in per_class(totals)] if per_class else [],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Validator:
    """Runs a network over pairs and counts, picture by picture."""

    spec: ModelSpec
    labels: LabelMap
    pairs: Callable[[Mapping[str, Any]], Pair]
    device: str
    precision: str

    def rows(
        self, network: nn.Module, entries: Sequence[Mapping[str, Any]], epoch: int, step: int
    ) -> Iterator[Row]:
        """Rows of VALIDATION, in the order of ``entries``.

        Raises:
            FileFailure: a picture that was good before the first step can no longer be read.
        """
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="validation") as pool:
            waiting = iter(entries)
            under_way = [pool.submit(self.pairs, one) for one in islice(waiting, 2)]
            for entry in entries:
                pair = under_way.pop(0).result()
                under_way += [pool.submit(self.pairs, one) for one in islice(waiting, 1)]
                yield self._row(network, entry, pair, epoch, step)

    def _row(
        self, network: nn.Module, entry: Mapping[str, Any], pair: Pair, epoch: int, step: int
    ) -> Row:
        mask = self.predict(network, pair.pixels)
        matrix = self._matrix(pair.mask, mask)
        totals = self.totals(matrix)
        return {
            "epoch": epoch,
            "step": step,
            "image_id": entry["image_id"],
            "key": entry["key"],
            "miou": _or_none(METRICS["miou"].score(totals)),
            "pixel_accuracy": _or_none(METRICS["pixel_accuracy"].score(totals)),
            "confusion": nonzero_cells(matrix),
        }

    @torch.inference_mode()
    def predict(self, network: nn.Module, pixels: RgbImage) -> LabelMask:
        """(H, W) mask of one picture, as `prelabel` makes it."""
        picture = prepare(pixels, self.spec.preprocessing)
        images = network_input([picture], self.spec.preprocessing, torch.device(self.device))
        dtype = DTYPES[self.precision]
        with torch.autocast(self.device, dtype, enabled=dtype != torch.float32):
            logits = network(images)
        grid = logits[0].float().cpu().numpy()
        rows, cols = grid_maps(picture, (grid.shape[1], grid.shape[2]), self.spec.alignment)
        size_hw = (pixels.shape[0], pixels.shape[1])
        return upsample_argmax(grid, rows, cols, size_hw, dtype=self.labels.mask_dtype)

    def _matrix(self, truth: LabelMask, prediction: LabelMask) -> ConfusionCounts:
        classes, ignore = len(self.labels.classes), self.labels.ignore_index
        table = value_table(classes, ignore=(ignore,), bits=8 * truth.dtype.itemsize)
        return count_pair(
            truth, prediction, classes, truth_table=table, prediction_table=table
        ).matrix

    def totals(self, matrix: ConfusionCounts) -> Totals:
        """The sums that metrics stand on."""
        layout = TotalsLayout.of(self.labels)
        return layout.split(matrix_to_vector(matrix, layout))


def summed(rows: Sequence[Row], num_classes: int) -> ConfusionCounts:
    """The confusion matrix of all pictures together."""
    matrix = empty_matrix(num_classes)
    for row in rows:
        cells = [
            [cell[name] for cell in row["confusion"]] for name in ("truth", "prediction", "pixels")
        ]
        add_cells(matrix, *(np.array(one, dtype=np.int64) for one in cells))
    return matrix


def vectors_of(rows: Sequence[Row], labels: LabelMap) -> Sums:
    """(n, D) float64 sums of each picture, as :class:`TotalsLayout` reads them."""
    layout = TotalsLayout.of(labels)
    found = [matrix_to_vector(summed([row], len(labels.classes)), layout) for row in rows]
    return np.stack(found)


def _or_none(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
