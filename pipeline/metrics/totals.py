"""The sums every metric is computed from. They add over images, so one pass serves all metrics.

A vector of sums per image, weighted and added, gives the sums of any resample of the images: that
is what makes a bootstrap of a whole audit cheap.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from maskmill.schemas.arrays import ConfusionCounts
from maskmill.schemas.labels import LabelMap

Sums = npt.NDArray[np.float64]
"""Whole numbers up to 2**53 are exact; leading axes (…) are images, datasets or resamples."""

CONFIDENCE_LEVELS = 60  # a multiple of 15 (calibration bins), 20 and 10 (deciles)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums per class (C), category (K) or confidence level, with any leading axes (…).

    Pixels whose truth is ignore are in none of them. A prediction that is ignore or no class
    counts as a miss for the truth's class and for no class as a false positive.
    """

    true_positive: Sums  # (…, C) pixels
    truth: Sums  # (…, C) pixels
    predicted: Sums  # (…, C) pixels
    category_true_positive: Sums  # (…, K) pixels
    category_truth: Sums  # (…, K) pixels
    category_predicted: Sums  # (…, K) pixels
    image_iou: Sums  # (…, C) sum over images of the image's IoU of the class
    image_iou_count: Sums  # (…, C) images in which the class has a union
    image_miou: Sums  # (…, 1) sum over images of the image's mIoU
    image_miou_count: Sums  # (…, 1) images with any class
    boundary_intersection: Sums  # (…, C) pixels
    boundary_union: Sums  # (…, C) pixels
    band_intersection: Sums  # (…, C) pixels
    band_union: Sums  # (…, C) pixels
    level_pixels: Sums  # (…, 60) pixels per confidence level
    level_correct: Sums  # (…, 60) of them, pixels predicted right
    level_confidence: Sums  # (…, 60) sum of their confidences


@dataclass(frozen=True, slots=True)
class TotalsLayout:
    """Where each sum lies in one flat vector. ``categories`` names the category of each class."""

    num_classes: int
    categories: tuple[str, ...]

    @classmethod
    def of(cls, labels: LabelMap) -> "TotalsLayout":
        """Categories are the supercategories; a class without one is its own category."""
        return cls(
            len(labels.classes),
            tuple(entry.supercategory or entry.name for entry in labels.classes),
        )

    @property
    def category_names(self) -> tuple[str, ...]:
        """Category names in order of first appearance."""
        return tuple(dict.fromkeys(self.categories))

    @property
    def widths(self) -> dict[str, int]:
        """Length of each sum, in order."""
        special = {
            "category_true_positive": len(self.category_names),
            "category_truth": len(self.category_names),
            "category_predicted": len(self.category_names),
            "image_miou": 1,
            "image_miou_count": 1,
            "level_pixels": CONFIDENCE_LEVELS,
            "level_correct": CONFIDENCE_LEVELS,
            "level_confidence": CONFIDENCE_LEVELS,
        }
        return {item.name: special.get(item.name, self.num_classes) for item in fields(Totals)}

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        return sum(self.widths.values())

    def split(self, vectors: Sums) -> Totals:
        """(…, size) -> the named sums, as views."""
        parts, start = {}, 0
        for name, width in self.widths.items():
            parts[name] = vectors[..., start : start + width]
            start += width
        return Totals(**parts)

    def category_of_class(self) -> npt.NDArray[np.intp]:
        """(C,) index of each class's category."""
        names = self.category_names
        return np.array([names.index(name) for name in self.categories], dtype=np.intp)


def matrix_to_vector(matrix: ConfusionCounts, layout: TotalsLayout) -> Sums:
    """The vector of one image's matrix (C + 1, C + 1); boundary and confidence parts 0."""
    vector = np.zeros(layout.size, dtype=np.float64)
    totals = layout.split(vector)
    _fill_classes(totals, matrix)
    _fill_categories(totals, matrix, layout)
    union = totals.truth + totals.predicted - totals.true_positive
    present = union > 0
    if present.any():
        iou = totals.true_positive[present] / union[present]
        totals.image_iou[present] = iou
        totals.image_iou_count[present] = 1
        totals.image_miou[0] = iou.mean()
        totals.image_miou_count[0] = 1
    return vector


def add_boundary(
    vector: Sums,
    layout: TotalsLayout,
    boundary: Sequence[npt.NDArray[np.int64]],
    band: Sequence[npt.NDArray[np.int64]],
) -> None:
    """Put (intersection, union), each (C,), of the boundaries and of the band into a vector."""
    totals = layout.split(vector)
    totals.boundary_intersection[:] = boundary[0]
    totals.boundary_union[:] = boundary[1]
    totals.band_intersection[:] = band[0]
    totals.band_union[:] = band[1]


def add_confidence(vector: Sums, layout: TotalsLayout, levels: Sums) -> None:
    """Put (3, 60) pixels, correct pixels and summed confidence per level into a vector."""
    totals = layout.split(vector)
    totals.level_pixels[:], totals.level_correct[:], totals.level_confidence[:] = levels


def _fill_classes(totals: Totals, matrix: ConfusionCounts) -> None:
    totals.true_positive[:] = np.diagonal(matrix)[:-1]
    totals.truth[:] = matrix[:-1].sum(axis=1)
    totals.predicted[:] = matrix[:-1, :-1].sum(axis=0)


def _fill_categories(totals: Totals, matrix: ConfusionCounts, layout: TotalsLayout) -> None:
    member = layout.category_of_class()
    np.add.at(totals.category_truth, member, totals.truth)
    np.add.at(totals.category_predicted, member, totals.predicted)
    rows, columns = np.nonzero(matrix[:-1, :-1])
    same = member[rows] == member[columns]
    rows, columns = rows[same], columns[same]
    np.add.at(totals.category_true_positive, member[rows], matrix[rows, columns])
