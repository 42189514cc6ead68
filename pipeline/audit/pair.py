"""One pair of masks -> everything an AUDIT row says about it."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from maskmill.pipeline.audit.alignment import Alignment, try_alignments, turn_of_sizes
from maskmill.pipeline.audit.disagreement import Region, disagreeing_regions
from maskmill.pipeline.audit.pair_masks import PairMasks, ScannedPair, ValueTables
from maskmill.pipeline.audit.truth_checks import Finding, TruthMask, check_truth
from maskmill.pipeline.metrics.boundary import (
    TRIMAP_WIDTHS,
    BoundaryCounts,
    count_boundary_runs,
)
from maskmill.pipeline.metrics.calibration import count_levels
from maskmill.pipeline.metrics.confusion import (
    PairCounts,
    nonzero_cells,
    size_sentence,
    to_class_map,
)
from maskmill.schemas.arrays import ConfidenceMap, ConfusionCounts, LabelMask
from maskmill.schemas.errors import ErrorCode, MaskFailure

Row = dict[str, Any]
"""Columns of the AUDIT schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What is measured beside the confusion matrix.

    ``alignment`` looks for shifts in every pair, for turns in those of low agreement: one turned
    mask is to be named among thousands.
    """

    boundaries: bool = True
    regions: bool = True
    truth_checks: bool = True
    alignment: bool = True

    @property
    def are_counts_only(self) -> bool:
        """True where nothing needs more than how often values meet."""
        return not (self.boundaries or self.regions or self.truth_checks or self.alignment)


class ClassSums:
    """Pixels per class of one pair, from the few cells of its matrix that are not zero."""

    def __init__(self, matrix: ConfusionCounts) -> None:
        ignore = len(matrix) - 1
        self.cells = nonzero_cells(matrix)
        self.truth: dict[int, int] = {}
        self.predicted: dict[int, int] = {}  # where the truth is not ignore
        self.hits: dict[int, int] = {}
        for cell in self.cells:
            row, column, pixels = cell["truth"], cell["prediction"], cell["pixels"]
            if row != ignore:
                self.truth[row] = self.truth.get(row, 0) + pixels
                self.predicted[column] = self.predicted.get(column, 0) + pixels
                if row == column:
                    self.hits[row] = pixels
        self.predicted.pop(ignore, None)

    def iou(self, index: int) -> float:
        """IoU of one class that has a union."""
        hits = self.hits.get(index, 0)
        return hits / (self.truth.get(index, 0) + self.predicted.get(index, 0) - hits)

    def score(self, index: int, name: str) -> Row:
        """The columns of one class that has a union."""
        truth, predicted = self.truth.get(index, 0), self.predicted.get(index, 0)
        return {
            "index": index, "name": name, "truth_pixels": truth, "predicted_pixels": predicted,
            "intersection": self.hits.get(index, 0), "iou": self.iou(index),
        }  # fmt: skip


def audit_masks(
    truth: LabelMask,
    prediction: LabelMask,
    names: tuple[str, ...],
    *,
    tables: ValueTables,
    measures: Measures,
    read_confidence: Callable[[], ConfidenceMap | None],
) -> Row:
    """Measure one pair.

    Args:
        truth: (H, W) mask values.
        prediction: (H, W) mask values.
        names: class names by index.
        tables: from mask values to class indices, C = ignore, C + 1 = no class.
        measures: what to do beside counting.
        read_confidence: gives (H, W) confidences of the prediction, or None; called only when
            the sizes agree.

    Raises:
        MaskFailure: ORIENTATION_MISMATCH or SIZE_MISMATCH; the message says how they differ.
    """
    num_classes = len(names)
    if truth.shape != prediction.shape:
        raise _mismatch(truth, prediction, tables, num_classes)
    masks = PairMasks(truth, prediction, tables, num_classes)
    confidence = read_confidence()
    scanned = None
    if not measures.are_counts_only or confidence is not None:
        scanned = masks.scanned
    counts = scanned.counts if scanned else masks.counts()
    sums = ClassSums(counts.matrix)
    row = _count_columns(counts, sums, truth.shape)
    if confidence is not None:
        row["levels"] = _level_rows(*masks.class_maps, confidence, num_classes)
    boundary = None
    if scanned:
        row["truth_sha256"], row["prediction_sha256"] = scanned.prints
        row |= _run_columns(scanned, masks.classes[0], measures, confidence)
        if measures.boundaries:
            boundary = count_boundary_runs(scanned.runs, scanned.blocks, num_classes)
    if measures.alignment:
        trial = try_alignments(*masks.classes, counts.matrix)
        row["alignment"] = _columns_of(trial.found) if trial.found else None
        row["undecided"] = list(trial.doubts)
    return row | _class_columns(sums, names, boundary)


def resized_nearest(mask: LabelMask, shape: tuple[int, ...]) -> LabelMask:
    """The mask at another (H, W): each pixel takes the value at its own centre's position."""
    rows, cols = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.intp), old - 1)
        for new, old in zip(shape, mask.shape, strict=True)
    )
    resized: LabelMask = mask[rows[:, None], cols]
    return resized


def _mismatch(
    truth: LabelMask, prediction: LabelMask, tables: ValueTables, num_classes: int
) -> MaskFailure:
    sentence = size_sentence(truth.shape, prediction.shape)
    if truth.shape == prediction.shape[::-1]:
        left = to_class_map(truth, tables.truth, num_classes)
        right = to_class_map(prediction, tables.prediction, num_classes)
        turn = turn_of_sizes(left, right, num_classes)
        return MaskFailure(
            ErrorCode.ORIENTATION_MISMATCH,
            f"{sentence}; they fit best if the prediction is {turn} against the truth: one of them "
            "does not follow the picture's EXIF orientation",
        )
    ratios = [new / old for new, old in zip(prediction.shape, truth.shape, strict=True)]
    scaled = abs(ratios[0] - ratios[1]) < 0.02 * max(ratios)
    how = f"; it looks resized by {ratios[1]:.3g}" if scaled else ""
    return MaskFailure(
        ErrorCode.SIZE_MISMATCH,
        f"{sentence}{how}; predict at the picture's own size, or give --resize nearest",
    )


def _count_columns(counts: PairCounts, sums: ClassSums, shape: tuple[int, ...]) -> Row:
    valid = sum(sums.truth.values())
    strange = (("truth", counts.truth_out_of_range), ("prediction", counts.prediction_out_of_range))
    return {
        "height": shape[0], "width": shape[1],
        "pixels": shape[0] * shape[1], "ignored_pixels": shape[0] * shape[1] - valid,
        "pixel_accuracy": sum(sums.hits.values()) / valid if valid else None,
        "cells": sums.cells,
        "strange_values": [
            {"side": side, "value": value, "pixels": pixels}
            for side, census in strange for value, pixels in sorted(census.items())
        ],
    }  # fmt: skip


def _run_columns(
    scanned: ScannedPair, truth: LabelMask, measures: Measures, confidence: ConfidenceMap | None
) -> Row:
    row: Row = {}
    matrix, runs, blocks = scanned.counts.matrix, scanned.runs, scanned.blocks
    if measures.regions:
        regions = disagreeing_regions(runs, matrix, confidence=confidence)
        row["regions"] = [_columns_of(region) for region in regions]
    if measures.truth_checks:
        void_pixels = int(matrix[-1].sum())
        mask = TruthMask(truth, runs, void_pixels, blocks.truth)
        row["findings"] = [_columns_of(finding) for finding in check_truth(mask)]
    return row


def _columns_of(record: Region | Finding | Alignment) -> Row:
    """The fields of a flat dataclass with slots; ``asdict`` would copy every value deeply."""
    return {name: getattr(record, name) for name in record.__slots__}


def _level_rows(
    left: LabelMask, right: LabelMask, confidence: ConfidenceMap, num_classes: int
) -> list[Row]:
    pixels, correct, summed = count_levels(left, right, confidence, num_classes)
    return [
        {"level": int(level), "pixels": int(pixels[level]), "correct": int(correct[level]),
         "confidence": float(summed[level])}
        for level in np.flatnonzero(pixels)
    ]  # fmt: skip


def _class_columns(sums: ClassSums, names: tuple[str, ...], boundary: BoundaryCounts | None) -> Row:
    classes = [
        sums.score(index, names[index])
        for index in sorted(sums.truth.keys() | sums.predicted.keys())
    ]
    scores: list[float] = [score["iou"] for score in classes]
    row: Row = {"classes": classes, "miou": fmean(scores) if scores else None}
    if boundary is not None:
        _add_boundary(classes, boundary)
        row["boundary_iou"] = _mean_boundary(boundary)
        row["trimap"] = _trimap_rows(boundary)
    return row


def _add_boundary(classes: list[Row], boundary: BoundaryCounts) -> None:
    columns = (boundary.boundary_intersection, boundary.boundary_union, *boundary.band())
    names = ("boundary_intersection", "boundary_union", "band_intersection", "band_union")
    chosen = [score["index"] for score in classes]
    for name, values in zip(names, columns, strict=True):
        for score, pixels in zip(classes, values[chosen].tolist(), strict=True):
            score[name] = pixels


def _mean_boundary(boundary: BoundaryCounts) -> float | None:
    known = boundary.boundary_union > 0
    if not known.any():
        return None
    return float(np.mean(boundary.boundary_intersection[known] / boundary.boundary_union[known]))


def _trimap_rows(boundary: BoundaryCounts) -> list[Row]:
    rows, indices = np.nonzero(boundary.trimap_union)
    columns = (
        rows, indices,
        boundary.trimap_intersection[rows, indices], boundary.trimap_union[rows, indices],
    )  # fmt: skip
    return [
        {"width": TRIMAP_WIDTHS[row], "index": index, "intersection": shared, "union": union}
        for row, index, shared, union in zip(*(one.tolist() for one in columns), strict=True)
    ]
