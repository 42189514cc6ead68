"""One pair of masks -> everything an AUDIT row says about it."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.alignment import find_alignment, turn_of_sizes
from pipeline.disagreement import disagreeing_regions
from pipeline.metrics.boundary import TRIMAP_WIDTHS, BoundaryCounts, count_boundary
from pipeline.metrics.calibration import count_levels
from pipeline.metrics.confusion import (
    PairCounts,
    ValueTable,
    count_pair,
    nonzero_cells,
    size_sentence,
    to_class_map,
)
from pipeline.truth_checks import check_truth
from schemas.arrays import ConfusionCounts, LabelMask, ScoreMap
from schemas.errors import ErrorCode, MaskFailure

Row = dict[str, Any]
"""Columns of the AUDIT schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What is measured beside the confusion matrix. ``alignment`` is by far the dearest."""

    boundaries: bool = True
    regions: bool = True
    truth_checks: bool = True
    alignment: bool = True


@dataclass(frozen=True, slots=True)
class ValueTables:
    """Mask values -> class indices, per side: the two masks may differ in bits per pixel."""

    truth: ValueTable
    prediction: ValueTable


def audit_masks(
    truth: LabelMask,
    prediction: LabelMask,
    names: tuple[str, ...],
    *,
    tables: ValueTables,
    measures: Measures,
    read_confidence: Callable[[], ScoreMap | None],
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
    counts = count_pair(
        truth, prediction, num_classes,
        truth_table=tables.truth, prediction_table=tables.prediction,
    )  # fmt: skip
    row = _count_columns(counts, truth.shape)
    needs_maps = any(asdict(measures).values())
    confidence = read_confidence()
    boundary = None
    if needs_maps or confidence is not None:
        left = _class_map(truth, tables.truth, num_classes, bool(counts.truth_out_of_range))
        right = _class_map(
            prediction, tables.prediction, num_classes, bool(counts.prediction_out_of_range)
        )
        row |= _map_columns(left, right, counts.matrix, num_classes, measures, confidence)
        boundary = count_boundary(left, right, num_classes) if measures.boundaries else None
        row["truth_sha256"] = hashlib.sha256(left.tobytes()).hexdigest()
    return row | _class_columns(counts.matrix, names, boundary)


def _class_map(
    mask: LabelMask, table: ValueTable, num_classes: int, has_strange: bool
) -> LabelMask:
    """As ``to_class_map``; at once where classes stand for themselves and the rest is ignore."""
    is_plain = mask.dtype == np.uint8 and num_classes < 255 and not has_strange
    if is_plain and np.array_equal(table[:num_classes], np.arange(num_classes)):
        plain: LabelMask = np.minimum(mask, np.uint8(num_classes))
        return plain
    return to_class_map(mask, table, num_classes)


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


def _count_columns(counts: PairCounts, shape: tuple[int, ...]) -> Row:
    valid = int(counts.matrix[:-1].sum())
    right = int(np.trace(counts.matrix[:-1, :-1]))
    strange = (("truth", counts.truth_out_of_range), ("prediction", counts.prediction_out_of_range))
    return {
        "height": shape[0], "width": shape[1],
        "pixels": shape[0] * shape[1], "ignored_pixels": int(counts.matrix[-1].sum()),
        "pixel_accuracy": right / valid if valid else None,
        "cells": nonzero_cells(counts.matrix),
        "strange_values": [
            {"side": side, "value": value, "pixels": pixels}
            for side, census in strange for value, pixels in sorted(census.items())
        ],
    }  # fmt: skip


def _map_columns(
    left: LabelMask,
    right: LabelMask,
    matrix: ConfusionCounts,
    num_classes: int,
    measures: Measures,
    confidence: ScoreMap | None,
) -> Row:
    row: Row = {}
    if confidence is not None:
        row["levels"] = _level_rows(left, right, confidence, num_classes)
    if measures.regions:
        regions = disagreeing_regions(left, right, matrix, confidence=confidence)
        row["regions"] = [asdict(region) for region in regions]
    if measures.truth_checks:
        row["findings"] = [asdict(finding) for finding in check_truth(left, num_classes)]
    if measures.alignment:
        found = find_alignment(left, right, num_classes)
        row["alignment"] = asdict(found) if found else None
    return row


def _level_rows(
    left: LabelMask, right: LabelMask, confidence: ScoreMap, num_classes: int
) -> list[Row]:
    pixels, correct, summed = count_levels(left, right, confidence, num_classes)
    return [
        {"level": int(level), "pixels": int(pixels[level]), "correct": int(correct[level]),
         "confidence": float(summed[level])}
        for level in np.flatnonzero(pixels)
    ]  # fmt: skip


def _class_columns(
    matrix: ConfusionCounts, names: tuple[str, ...], boundary: BoundaryCounts | None
) -> Row:
    truth, predicted = matrix[:-1].sum(axis=1), matrix[:-1, :-1].sum(axis=0)
    hits = np.diagonal(matrix)[:-1]
    union = truth + predicted - hits
    shown = np.flatnonzero(union)
    scores = [float(hits[index] / union[index]) for index in shown]
    classes = [
        {"index": int(index), "name": names[index], "truth_pixels": int(truth[index]),
         "predicted_pixels": int(predicted[index]), "intersection": int(hits[index]), "iou": score,
         **_boundary_fields(boundary, int(index))}
        for index, score in zip(shown, scores, strict=True)
    ]  # fmt: skip
    row: Row = {"classes": classes, "miou": float(np.mean(scores)) if scores else None}
    if boundary is not None:
        row["boundary_iou"] = _mean_boundary(boundary)
        row["trimap"] = _trimap_rows(boundary)
    return row


def _boundary_fields(boundary: BoundaryCounts | None, index: int) -> Mapping[str, int]:
    if boundary is None:
        return {}
    band = boundary.band()
    return {
        "boundary_intersection": int(boundary.boundary_intersection[index]),
        "boundary_union": int(boundary.boundary_union[index]),
        "band_intersection": int(band[0][index]), "band_union": int(band[1][index]),
    }  # fmt: skip


def _mean_boundary(boundary: BoundaryCounts) -> float | None:
    known = boundary.boundary_union > 0
    if not known.any():
        return None
    return float(np.mean(boundary.boundary_intersection[known] / boundary.boundary_union[known]))


def _trimap_rows(boundary: BoundaryCounts) -> list[Row]:
    return [
        {"width": TRIMAP_WIDTHS[row], "index": int(index),
         "intersection": int(boundary.trimap_intersection[row, index]),
         "union": int(boundary.trimap_union[row, index])}
        for row, index in zip(*np.nonzero(boundary.trimap_union), strict=True)
    ]  # fmt: skip
