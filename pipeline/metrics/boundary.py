"""Boundaries: Boundary IoU, IoU in a band around the truth's borders, and the trimap curve.

A pixel lies within w of its class's border exactly when fewer than w steps to one of its eight
neighbours lead to a pixel that touches another class (Chebyshev's distance, as of repeated 3 x 3
erosions). So the pixels that touch another class are grown step by step, once for all classes, as
bits; then the bits that each class that occurs shares with everything that is near are counted.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.pipeline.metrics.bit_planes import Plane, PlaneLayout
from maskmill.pipeline.metrics.compiled import native
from maskmill.pipeline.metrics.joint_runs import Blocks, JointRuns, scan
from maskmill.pipeline.metrics.run_bits import RunBits
from maskmill.schemas.arrays import BoolMask, LabelMask

TRIMAP_WIDTHS = (1, 2, 3, 5, 10, 20, 40)  # pixels on each side; Krähenbühl and Koltun 2011
BAND_WIDTH = 5  # of boundary-band IoU; one of the trimap widths
_WIDTHS = np.array(TRIMAP_WIDTHS, dtype=np.int64)
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


@lru_cache(maxsize=8)
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
    near = layout.widened(blocks.truth[None].copy(), 1, 2 * width)
    found = np.empty((1, layout.height * layout.words), dtype=near.dtype)
    layout.around(near, width, found)
    return layout.unpack(found[0] | ~layout.inner(width))


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
    """As :func:`count_boundary`, of a scan in a ``boundary_layout``; ``runs`` are of classes."""
    counts = BoundaryCounts.empty(num_classes)
    present = runs.present()
    if present:
        tables = _shares(runs, blocks, present)
        both = np.diagonal(tables, axis1=1, axis2=2)
        one, other = tables.sum(axis=2), tables.sum(axis=1)[:, :-1]
        widths = slice(len(TRIMAP_WIDTHS))
        counts.trimap_intersection[:, present] = both[widths]
        counts.trimap_union[:, present] = (one + other - both)[widths]
        counts.boundary_intersection[present] = both[_BOTH]
        counts.boundary_union[present] = one[_TRUTH] + other[_PREDICTION] - both[_BOTH]
    return counts


_TRUTH, _PREDICTION, _BOTH = range(len(TRIMAP_WIDTHS), len(TRIMAP_WIDTHS) + 3)
"""Planes after those of the trimap widths: near whose borders the pixels are."""

_SLAB_WORDS = 1 << 16  # of a plane, looked at together: so many planes of a whole picture are much


def _shares(runs: JointRuns, blocks: Blocks, present: list[int]) -> npt.NDArray[np.int64]:
    """(P, K, K + 1) pixels near the borders, by class of the truth and of the prediction.

    Of the K classes that occur; the last is void in the prediction.
    """
    layout, side = runs.layout, len(present)
    numbers = np.full(runs.void + 1, side, dtype=np.intp)
    numbers[present] = np.arange(side)
    tables = np.zeros((_BOTH + 1, side, side + 1), dtype=np.int64)
    frame = _frame(layout)
    rows = max(layout.reach, _SLAB_WORDS // layout.words)
    for top in range(0, layout.height, rows):
        size = min(rows, layout.height - top)
        ends = np.searchsorted(runs.places, (top * layout.span, (top + size) * layout.span))
        near = _near_planes(layout, blocks, top, size, frame)
        _add_shares(runs, slice(*ends), top * layout.span, numbers, near, tables)
    return tables


@lru_cache(maxsize=2)
def _frame(layout: PlaneLayout) -> Plane:
    """(H * words,) the pixels near the picture's edge; most pictures are of one size."""
    frame = ~layout.inner(boundary_width(layout.height, layout.width))
    frame.flags.writeable = False
    return frame


def _add_shares(
    runs: JointRuns,
    part: slice,
    begin: int,
    numbers: npt.NDArray[np.intp],
    near: npt.NDArray[np.uint64],
    tables: npt.NDArray[np.int64],
) -> None:
    """Add what some runs share with (P, n) planes that begin at position ``begin``.

    ``numbers`` (void + 1,) are the places of the classes among those that occur.
    """
    sides = runs.truth[part], runs.prediction[part]
    places, lengths = runs.places[part], runs.lengths[part]
    if loops := native(*sides):
        loops.count_near(
            near, places, lengths, *sides, numbers, tables, len(near), tables.shape[1], begin
        )
        return
    codes = numbers.take(sides[0]) * tables.shape[2] + numbers.take(sides[1])
    counted = np.flatnonzero((lengths > 0) & (sides[0] < runs.void))
    places, lengths, codes = (one.take(counted) for one in (places - begin, lengths, codes))
    bits = RunBits(places, lengths, codes, tables[0].size)
    tables += bits.count(near).reshape(tables.shape)


def _near_planes(
    layout: PlaneLayout, blocks: Blocks, top: int, size: int, frame: Plane
) -> npt.NDArray[np.uint64]:
    """(P, size * words) what is near borders, of so many rows from ``top`` on.

    ``frame`` (H * words,) are the pixels near the picture's edge.
    """
    part, windows = layout.slab([blocks.truth, blocks.prediction], top, size)
    near = np.empty((_BOTH + 1, size * layout.words), dtype=windows.dtype)
    width, reached = boundary_width(layout.height, layout.width), 1
    frame = frame[top * layout.words : (top + size) * layout.words]
    if loops := native():
        loops.near(*windows, _WIDTHS, frame, near, width, layout.top, layout.words)
        return near
    for reach in sorted({*TRIMAP_WIDTHS, width}):
        windows, reached = part.widened(windows, reached, 2 * reach), 2 * reach
        if reach in TRIMAP_WIDTHS:
            place = TRIMAP_WIDTHS.index(reach)
            part.around(windows[:1], reach, near[place : place + 1])
        if reach == width:
            part.around(windows, reach, near[_TRUTH:_BOTH])
            near[_TRUTH:_BOTH] |= frame
            np.bitwise_and(near[_TRUTH], near[_PREDICTION], out=near[_BOTH])
            windows = windows[:1]
    return near
