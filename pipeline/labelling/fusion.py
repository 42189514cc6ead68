"""The class of highest average probability at every pixel, over scales, flips and windows.

As in upsample.py, bounds first: in a block of pixels each view's interpolated probability lies
between its extremes over the block, and so does the weighted sum of the views. Classes that
cannot win in a block are dropped, blocks with one class left are filled, and only the rest is
computed, by the same operations in the same order as the plain way. Strips and bands keep the
memory independent of the size of the picture.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.labelling.averages import (
    PlacedView,
    View,
    average_probabilities,
    place,
    strips,
)
from maskmill.pipeline.labelling.bilinear import AxisRuns, IndexArray
from maskmill.pipeline.labelling.confidence import (
    GridConfidence,
    PointConfidence,
    point_confidence,
    summarise,
)
from maskmill.pipeline.labelling.pruning import Float32Array, candidates, contest
from maskmill.pipeline.labelling.upsample import upsample_argmax
from maskmill.pipeline.labelling.view_blocks import (
    ValueWriter,
    count_bounds,
    value_writer,
    view_bounds,
)
from maskmill.pipeline.views.geometry import AxisMap, GridView
from maskmill.pipeline.views.plan import ViewPlan
from maskmill.schemas.arrays import LabelMask, ignore_index_of

BAND_VALUES = 1 << 20
"""Bounds, or averages, computed at once."""
CHUNK_PIXELS = 1 << 17
"""Pixels computed at once."""
_BLOCK_SIDES = (8, 32)
"""Least and greatest side of a block in pixels."""
_EPS = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, slots=True, eq=False)
class FusedPicture:
    """A mask, and the confidence of the average on a lattice of its pixels.

    ``rows`` and ``cols`` map the mask's pixels onto ``confidence.top1``. ``answers`` and ``plan``
    are what it was made of, where a pixel's own probabilities may be asked for.
    """

    mask: LabelMask
    confidence: GridConfidence
    rows: AxisMap
    cols: AxisMap
    answers: Sequence[GridView] = ()
    plan: ViewPlan | None = None


def fuse_argmax(
    views: Iterable[View],
    size_hw: tuple[int, int],
    *,
    dtype: npt.DTypeLike = np.uint8,
    threshold: float = 0.5,
) -> LabelMask:
    """The class of the highest average probability at every pixel; ties: lowest class.

    Args:
        views: of C classes each, in ascending order of their windows' tops. They are taken one
            at a time and let go when passed: give a generator that runs the network.
        size_hw: (H, W) of the picture.
        dtype: of the mask; must hold C classes and its ignore value.
        threshold: of two classes, the second wins where its probability is above this.

    Returns:
        (H, W) mask. Memory beyond the mask and the views under way does not grow with H and W.

    Raises:
        ValueError: views that leave pixels uncovered, come out of order or are not
            probabilities; a dtype that is too small.
    """
    return _fused(views, size_hw, dtype, threshold, None).mask


def fuse(
    views: Iterable[View],
    size_hw: tuple[int, int],
    *,
    dtype: npt.DTypeLike = np.uint8,
    threshold: float = 0.5,
    step_hw: tuple[int, int],
) -> FusedPicture:
    """``fuse_argmax`` together with the confidence of the average.

    The confidence is taken at every ``step_hw``-th pixel each way; ``grid_step`` says how many
    pixels one point of a view's grid stands for.

    Raises:
        ValueError: as ``fuse_argmax``; a step below 1.
    """
    lattices = [_lattice(size, step) for size, step in zip(size_hw, step_hw, strict=True)]
    gathered = _fused(views, size_hw, dtype, threshold, (lattices[0], lattices[1]))
    classes = gathered.classes
    shape = len(lattices[0]), len(lattices[1])
    confidence = summarise(gathered.points, classes, shape)
    maps = [
        AxisMap(1 / step, -float(lattice[0]) / step, 0.0, len(lattice) - 1.0)
        for lattice, step in zip(lattices, step_hw, strict=True)
    ]
    return FusedPicture(gathered.mask, confidence, maps[0], maps[1])


def grid_step(rows: AxisMap, cols: AxisMap) -> tuple[int, int]:
    """Pixels per grid point each way, rounded, 1 or more."""
    return _pixels_per_point(rows), _pixels_per_point(cols)


def _pixels_per_point(axis: AxisMap) -> int:
    # A grid of one point has scale 0: that point stands for as many pixels as there are.
    return max(1, round(1 / max(abs(axis.scale), 1e-6)))


@dataclass(slots=True)
class _Gathered:
    """What one pass over the views leaves."""

    mask: LabelMask
    points: list[PointConfidence]
    classes: int = 0


def _fused(
    views: Iterable[View],
    size_hw: tuple[int, int],
    dtype: npt.DTypeLike,
    threshold: float,
    lattices: tuple[IndexArray, IndexArray] | None,
) -> _Gathered:
    result = _Gathered(np.empty(size_hw, dtype=dtype), [])
    placed = (place(view, size_hw, threshold) for view in views)
    for strip in strips(placed, size_hw[0]):
        result.classes = _class_count(strip.views, result.classes, dtype)
        for rows, cols, covering in regions_of(strip.top, strip.bottom, size_hw[1], strip.views):
            _label_region(result.mask, rows, cols, covering)
        if lattices is not None:
            ys = lattices[0][slice(*np.searchsorted(lattices[0], (strip.top, strip.bottom)))]
            factors = _class_factors(result.classes, threshold)
            result.points += _points(strip.views, ys, lattices[1], factors)
    return result


def _class_count(views: Sequence[PlacedView], before: int, dtype: npt.DTypeLike) -> int:
    """The number of classes of all views, or a ValueError where they differ or do not fit."""
    counts = {len(view.planes) for view in views} | ({before} if before else set())
    if len(counts) > 1:
        raise ValueError(f"views of different numbers of classes: {sorted(counts)}")
    if counts and ignore_index_of(max(counts)) > np.iinfo(np.dtype(dtype)).max:
        raise ValueError(f"{max(counts)} classes and ignore do not fit in {np.dtype(dtype)}")
    return counts.pop() if counts else before


def _class_factors(classes: int, threshold: float) -> Float32Array:
    """(C, 1, 1): by what ``place`` has scaled the classes."""
    factors = [1.0] * classes if threshold == 0.5 else [threshold, 1 - threshold]
    return np.array(factors, dtype=np.float32)[:, None, None]


def _lattice(size: int, step: int) -> IndexArray:
    """Every ``step``-th of ``size`` pixels, centred in its step; at least one."""
    if step < 1:
        raise ValueError(f"a step is 1 pixel or more, not {step}")
    return np.arange(min((step - 1) // 2, size - 1), size, step)


def _points(
    views: Sequence[PlacedView], ys: IndexArray, xs: IndexArray, factors: Float32Array
) -> list[PointConfidence]:
    """The confidence at pixel rows by columns, a bounded number of rows at a time."""
    step = max(1, BAND_VALUES // (len(factors) * len(xs)))
    points = []
    for start in range(0, len(ys), step):
        values, total = average_probabilities(views, ys[start : start + step], xs)
        values /= total * factors
        points.append(point_confidence(values))
    return points


def regions_of(
    top: int, bottom: int, width: int, views: Sequence[PlacedView]
) -> Iterator[tuple[range, range, list[PlacedView]]]:
    """The parts of a strip that are covered by the same views throughout."""
    edges = sorted({0, width, *(edge for view in views for edge in (view.left, view.right))})
    for left, right in pairwise(edges):
        covering = [view for view in views if view.left <= left and view.right >= right]
        if not covering:
            raise ValueError(
                f"no view covers the columns {left} to {right - 1} of rows {top} to {bottom - 1}"
            )
        yield range(top, bottom), range(left, right), covering


def _label_region(mask: LabelMask, rows: range, cols: range, views: Sequence[PlacedView]) -> None:
    """Writes the labels of a rectangle that all the views cover."""
    if len(views) == 1:  # weights do not change which class is highest in one view
        only = views[0]
        mask[rows.start : rows.stop, cols.start : cols.stop] = upsample_argmax(
            only.planes,
            only.view.rows.shifted(rows.start - only.top),
            only.view.cols.shifted(cols.start - only.left),
            (len(rows), len(cols)),
            dtype=mask.dtype,
        )
        return
    side = block_side(views)
    col_blocks = blocks_of(cols, side)
    band = max(1, BAND_VALUES // (len(views[0].planes) * len(col_blocks.starts))) * side
    for start in range(rows.start, rows.stop, band):
        part = range(start, min(start + band, rows.stop))
        _label_band(mask, blocks_of(part, side), col_blocks, views)


def block_side(views: Sequence[PlacedView]) -> int:
    """About one and a half cells of the finest grid: few blocks, and few grid points in each."""
    finest = min(min(grid_step(placed.view.rows, placed.view.cols)) for placed in views)
    return min(_BLOCK_SIDES[1], max(_BLOCK_SIDES[0], finest * 3 // 2))


def blocks_of(pixels: range, side: int) -> AxisRuns:
    """Pixels cut into runs of ``side``, the last one shorter; numbered from 0."""
    starts = np.arange(pixels.start, pixels.stop, side)
    return AxisRuns(np.arange(len(starts)), starts, np.diff(starts, append=pixels.stop))


def _label_band(
    mask: LabelMask, rows: AxisRuns, cols: AxisRuns, views: Sequence[PlacedView]
) -> None:
    """Fills the blocks with one possible winner and computes the others."""
    found = candidates(*sum_bounds(views, rows, cols))
    first = found.first(mask.dtype).reshape(len(rows.starts), len(cols.starts))
    left, right = int(cols.starts[0]), int(cols.starts[-1] + cols.lengths[-1])
    top, bottom = int(rows.starts[0]), int(rows.starts[-1] + rows.lengths[-1])
    stripes = first.repeat(cols.lengths, axis=1)
    mask[top:bottom, left:right] = stripes.repeat(rows.lengths, axis=0)
    contested = found.contested(np.arange(first.size))
    step = max(1, CHUNK_PIXELS // int(rows.lengths.max() * cols.lengths.max()))
    for start in range(0, len(contested), step):
        cells = contested[start : start + step]
        row, col = np.divmod(cells, len(cols.starts))
        y, x = rows.pixels(row), cols.pixels(col)
        labels, _ = contest(found, cells, (len(y), len(x)), sum_writer(views, y, x), mask.dtype)
        mask.reshape(-1)[(y * mask.shape[1])[:, None] + x] = labels


def sum_bounds(
    views: Sequence[PlacedView], rows: AxisRuns, cols: AxisRuns
) -> tuple[Float32Array, Float32Array]:
    """(C, n, m) each: bounds of the weighted sum in each block, with room for rounding."""
    shape = len(views[0].planes), len(rows.starts), len(cols.starts)
    lowest, highest = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    greatest = 0.0
    for view in views:
        low, high = view_bounds(view, rows, cols)
        least_row, most_row = count_bounds(view.row_counts, rows, view.top)
        least_col, most_col = count_bounds(view.col_counts, cols, view.left)
        lowest += low * (least_row[:, None] * least_col)
        highest += high * (most_row[:, None] * most_col)
        greatest += float(high.max()) * float(most_row.max()) * float(most_col.max())
    margin = np.float32((16 + 4 * len(views)) * _EPS * greatest + np.finfo(np.float32).tiny)
    return lowest - margin, highest + margin


def sum_writer(views: Sequence[PlacedView], ys: IndexArray, xs: IndexArray) -> ValueWriter:
    """What writes the weighted sum of the views for one class per block; see ``value_writer``."""
    writers = [value_writer(view, ys, xs) for view in views]
    scratch = np.empty((len(ys), len(xs), ys.shape[1]), dtype=np.float32)

    def write(classes: IndexArray, out: Float32Array) -> None:
        writers[0](classes, out)
        term = scratch[:, :, : len(classes)]
        for writer in writers[1:]:
            writer(classes, term)
            out += term

    return write
