"""Boundaries: Boundary IoU, IoU in a band around the truth's borders, and the trimap curve.

A pixel lies within w of its class's border exactly when fewer than w steps to one of its eight
neighbours lead to a pixel that touches another class (Chebyshev's distance, as of repeated 3 x 3
erosions). So the pixels that touch another class are grown step by step, once for all classes, as
bits; then the bits that each class that occurs shares with everything that is near are counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.pipeline.metrics.bit_planes import BitCounter, Plane, PlaneLayout
from maskmill.pipeline.metrics.joint_runs import Blocks, JointRuns, scan
from maskmill.schemas.arrays import BoolMask, LabelMask

TRIMAP_WIDTHS = (1, 2, 3, 5, 10, 20, 40)  # pixels on each side; Krähenbühl and Koltun 2011
BAND_WIDTH = 5  # of boundary-band IoU; one of the trimap widths
DILATION_RATIO = 0.02  # of the image diagonal; Cheng et al. 2021

ClassPixels = npt.NDArray[np.int64]
"""(C,) or (N, K) pixels per class."""


@dataclass(frozen=True, slots=True)
class BoundaryCounts:
    """Sums over one pair; they add over pairs."""

    boundary_intersection: ClassPixels
    boundary_union: ClassPixels
    trimap_intersection: npt.NDArray[np.int64]  # (len(TRIMAP_WIDTHS), C)
    trimap_union: npt.NDArray[np.int64]  # (len(TRIMAP_WIDTHS), C)

    @classmethod
    def empty(cls, num_classes: int) -> "BoundaryCounts":
        """Nothing counted yet."""
        per_class = [np.zeros(num_classes, dtype=np.int64) for _ in range(2)]
        per_width = [np.zeros((len(TRIMAP_WIDTHS), num_classes), dtype=np.int64) for _ in range(2)]
        return cls(*per_class, *per_width)

    def band(self) -> tuple[ClassPixels, ClassPixels]:
        """(C,) intersection and (C,) union of the boundary band."""
        row = TRIMAP_WIDTHS.index(BAND_WIDTH)
        return self.trimap_intersection[row], self.trimap_union[row]


def use_one_thread() -> None:
    """Keep OpenCV to the calling thread: a worker process per core has no other to spend."""
    cv2.setNumThreads(1)


def boundary_width(height: int, width: int) -> int:
    """Pixels of the boundary of Boundary IoU: 2 % of the diagonal, at least 1."""
    return max(1, round(DILATION_RATIO * float(np.hypot(height, width))))


def class_boundary(classes: LabelMask, width: int) -> BoolMask:
    """(H, W): within ``width`` pixels of another value or of the picture's edge, for every class.

    Equal, class by class, to the mask minus its erosion by ``width`` steps of 3 x 3 with nothing
    around the picture, which is how Cheng et al. define the boundary region.
    """
    layout = PlaneLayout.of(classes.shape, width)
    _, blocks = scan(classes, classes, int(classes.max()) + 1, layout)
    (near,) = layout.windows(blocks.truth, (2 * width,))
    return layout.unpack(layout.around(near, width) | ~layout.inner(width))


def boundary_layout(shape: tuple[int, ...]) -> PlaneLayout:
    """Planes for all that is asked about boundaries of pictures of (H, W)."""
    return PlaneLayout.of(shape, max(boundary_width(*shape), *TRIMAP_WIDTHS))


def count_boundary(truth: LabelMask, prediction: LabelMask, num_classes: int) -> BoundaryCounts:
    """Count one pair of (H, W) class maps (values from ``num_classes`` on are ignore).

    Pixels whose truth is ignored leave both masks before the boundaries are taken, so a void region
    cuts the same border into both. For the trimap, the borders are the truth's own.
    """
    runs, blocks = scan(truth, prediction, num_classes, boundary_layout(truth.shape))
    return count_boundary_runs(runs.of_classes(), blocks, num_classes)


def count_boundary_runs(runs: JointRuns, blocks: Blocks, num_classes: int) -> BoundaryCounts:
    """As :func:`count_boundary`, of a scan in a ``boundary_layout``; the blocks are used up.

    ``runs`` are those of classes.
    """
    counts = BoundaryCounts.empty(num_classes)
    present = runs.present()
    if present:
        names, one, other, both = _shares(runs, present, _near_planes(blocks))
        rows = [names.index(width) for width in TRIMAP_WIDTHS]
        counts.trimap_intersection[:, present] = both[rows]
        counts.trimap_union[:, present] = (one + other - both)[rows]
        left, right, shared = (names.index(name) for name in (_TRUTH, _PREDICTION, _BOTH))
        counts.boundary_intersection[present] = both[shared]
        counts.boundary_union[present] = one[left] + other[right] - both[shared]
    return counts


_TRUTH, _PREDICTION, _BOTH = "truth", "prediction", "both"
_Name = str | int  # a trimap width, or whose boundary


def _near_planes(blocks: Blocks) -> Iterator[tuple[_Name, Plane]]:
    """What is near the borders: of the truth, of the prediction, or within a trimap width."""
    layout = blocks.layout
    width = boundary_width(layout.height, layout.width)
    frame = ~layout.inner(width)
    (there,) = layout.windows(blocks.prediction, (2 * width,))
    there = layout.around(there, width) | frame
    yield _PREDICTION, there
    widths = sorted({*TRIMAP_WIDTHS, width})
    grown = layout.windows(blocks.truth, tuple(2 * one for one in widths))
    for reach, windows in zip(widths, grown, strict=True):
        near = layout.around(windows, reach)
        if reach in TRIMAP_WIDTHS:
            yield reach, near
        if reach == width:
            here = near | frame
            yield _TRUTH, here
            yield _BOTH, here & there


def _shares(
    runs: JointRuns, present: list[int], planes: Iterator[tuple[_Name, Plane]]
) -> tuple[list[_Name], ClassPixels, ClassPixels, ClassPixels]:
    """Names of N planes; (N, K) pixels there of each class in the truth, the prediction, both."""
    side = len(present) + 1
    numbers = np.full(runs.void + 1, side - 1, dtype=np.intp)
    numbers[present] = np.arange(side - 1)
    codes = (numbers * side).take(runs.truth)
    codes += numbers.take(runs.prediction)
    counter = BitCounter(runs.layout, runs.places)
    names: list[_Name] = []
    sums: list[npt.NDArray[np.int64]] = []
    while batch := list(islice(planes, counter.most)):
        found = counter.runs([plane for _, plane in batch])
        names += [name for name, _ in batch]
        sums += counter.digits(np.bincount(codes[:-1], found, side**2), len(batch))
    tables = np.stack(sums).reshape(-1, side, side)[:, :-1]
    both = np.diagonal(tables, axis1=1, axis2=2)
    return names, tables.sum(axis=2), tables.sum(axis=1)[:, :-1], both


def capped(classes: LabelMask, top: int) -> LabelMask:
    """(H, W): nothing above ``top``; the same array where nothing is."""
    if not classes.size or classes.max() <= top:
        return classes
    # NumPy is quicker with an array of the number than with the number
    limited: LabelMask = np.minimum(classes, np.full_like(classes, top))
    return limited
