"""Pixels whose highest average probability, over scales, flips and windows, is below a minimum.

By the bounds that ``fusion`` finds the labels with: in a block of pixels the weighted sum of the
views lies between two values for each class, and the sum of the weights between two as well.
Blocks that those decide are left or filled; in the others the classes that may be the highest are
computed, as for the labels.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.labelling.averages import PlacedView, View, place, strips
from maskmill.pipeline.labelling.bilinear import AxisRuns, IndexArray
from maskmill.pipeline.labelling.fusion import (
    BAND_VALUES,
    CHUNK_PIXELS,
    block_side,
    blocks_of,
    regions_of,
    sum_bounds,
    sum_writer,
)
from maskmill.pipeline.labelling.pruning import candidates, contest
from maskmill.pipeline.labelling.view_blocks import count_bounds
from maskmill.schemas.arrays import LabelMask

Float32Array = npt.NDArray[np.float32]
_MARGIN = 1e-5


def ignore_below_average(
    mask: LabelMask, views: Iterable[View], minimum: float, ignore_index: int
) -> None:
    """Writes ``ignore_index`` where the highest average probability of a pixel is too low.

    Args:
        mask: (H, W), written to. Memory beyond it and the views under way does not grow.
        views: as for ``fuse_argmax``: in the order of their tops, taken one at a time.
        minimum: a probability; pixels below it are ignored.
        ignore_index: what to write.

    Raises:
        ValueError: as ``fuse_argmax``.
    """
    height, width = mask.shape
    placed = (place(view, (height, width)) for view in views)
    for strip in strips(placed, height):
        for rows, cols, covering in regions_of(strip.top, strip.bottom, width, strip.views):
            _do_region(mask, rows, cols, covering, minimum, ignore_index)


def _do_region(
    mask: LabelMask,
    rows: range,
    cols: range,
    views: Sequence[PlacedView],
    minimum: float,
    ignore: int,
) -> None:
    """A rectangle that all the views cover, in bands of rows."""
    side = block_side(views)
    col_blocks = blocks_of(cols, side)
    band = max(1, BAND_VALUES // (len(views[0].planes) * len(col_blocks.starts))) * side
    for start in range(rows.start, rows.stop, band):
        part = range(start, min(start + band, rows.stop))
        _do_band(mask, blocks_of(part, side), col_blocks, views, minimum, ignore)


def _do_band(
    mask: LabelMask,
    rows: AxisRuns,
    cols: AxisRuns,
    views: Sequence[PlacedView],
    minimum: float,
    ignore: int,
) -> None:
    lowest, highest = sum_bounds(views, rows, cols)
    least, most = _weight_bounds(views, rows, cols)
    sure = (lowest.max(axis=0) >= most * (minimum * (1 + _MARGIN))).reshape(-1)
    unsure = (highest.max(axis=0) < least * (minimum * (1 - _MARGIN))).reshape(-1)
    for cell in np.flatnonzero(unsure).tolist():
        down, across = divmod(cell, len(cols.starts))
        top, left = int(rows.starts[down]), int(cols.starts[across])
        bottom, right = top + int(rows.lengths[down]), left + int(cols.lengths[across])
        mask[top:bottom, left:right] = ignore
    found = candidates(lowest, highest)
    open_cells = np.flatnonzero(~sure & ~unsure)
    open_cells = open_cells[np.argsort(-found.counts[open_cells], kind="stable")]
    step = max(1, CHUNK_PIXELS // int(rows.lengths.max() * cols.lengths.max()))
    for start in range(0, len(open_cells), step):
        cells = open_cells[start : start + step]
        row, col = np.divmod(cells, len(cols.starts))
        y, x = rows.pixels(row), cols.pixels(col)
        writer = sum_writer(views, y, x)
        _, best = contest(found, cells, (len(y), len(x)), writer, mask.dtype)
        low = best < np.float32(minimum) * _weights(views, y, x)
        mask.reshape(-1)[((y * mask.shape[1])[:, None] + x)[low]] = ignore


def _weight_bounds(
    views: Sequence[PlacedView], rows: AxisRuns, cols: AxisRuns
) -> tuple[Float32Array, Float32Array]:
    """(n, m) each: bounds of the sum of what the views count in each block."""
    shape = len(rows.starts), len(cols.starts)
    least, most = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for view in views:
        low_row, high_row = count_bounds(view.row_counts, rows, view.top)
        low_col, high_col = count_bounds(view.col_counts, cols, view.left)
        least += low_row[:, None] * low_col
        most += high_row[:, None] * high_col
    return least, most


def _weights(views: Sequence[PlacedView], ys: IndexArray, xs: IndexArray) -> Float32Array:
    """(R, S, n): the sum of what the views count at the blocks' pixels."""
    total = np.zeros((len(ys), len(xs), ys.shape[1]), dtype=np.float32)
    for view in views:
        total += view.row_counts[ys - view.top][:, None] * view.col_counts[xs - view.left]
    return total
