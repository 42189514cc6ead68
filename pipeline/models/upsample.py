"""From a logit grid to the label of every original pixel, exactly and without upsampling it all.

Between four grid points bilinear interpolation stays within the four values. So, in one cell of
the grid, a class whose largest corner lies below another class's smallest corner wins no pixel.
Most cells are left with one class and are filled with it; only in the others are the remaining
classes interpolated. The cost follows the length of the boundaries, not pixels times classes.

The arithmetic of the pixels that are interpolated is that of ``upsample_plain`` operation by
operation, and a class is dropped only where it is below by more than that arithmetic can round:
the two functions agree on every pixel, those with equal highest values included (lowest class).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pipeline.models.bilinear import AxisRuns, AxisSamples, IndexArray, axis_runs, axis_samples
from pipeline.models.geometry import AxisMap
from schemas.arrays import LabelMask, LogitGrid, ignore_index_of

Float32Array = npt.NDArray[np.float32]
_BAND_VALUES = 1 << 20
"""Values of the grid compared at once; with what is derived from them about 16 MB."""
_CHUNK_PIXELS = 1 << 17
"""Pixels interpolated at once; with values, labels and addresses about 2.5 MB (a core's cache)."""
_LONGEST_RUN = 64
"""Pixels per side of the blocks that are interpolated."""
_ROUNDING = 8 * float(np.finfo(np.float32).eps)
"""Bound, relative to a class's largest magnitude, of the rounding of one interpolated value."""


@dataclass(frozen=True, slots=True)
class _CellCandidates:
    """The classes that may win in each cell of a band of the grid, (n, m) cells in row order.

    ``classes`` lists them cell after cell, ascending; those of cell k begin at ``starts[k]``
    and are ``counts[k]`` many, at least one.
    """

    first_row: int
    first_col: int
    cols: int
    counts: IndexArray
    starts: IndexArray
    classes: IndexArray


def upsample_argmax(
    grid: LogitGrid,
    rows: AxisMap,
    cols: AxisMap,
    size_hw: tuple[int, int],
    *,
    dtype: npt.DTypeLike = np.uint8,
) -> LabelMask:
    """The class of the highest bilinearly interpolated value at every pixel; ties: lowest class.

    Args:
        grid: (C, h, w) float32, finite; logits or probabilities.
        rows: maps pixel rows of the mask to grid rows; any affine map with clamp.
        cols: the same for columns.
        size_hw: (H, W) of the mask, 1 or more each.
        dtype: of the mask; must hold C classes and its ignore value.

    Returns:
        (H, W) mask, equal to ``upsample_plain(…, precision=np.float32)`` on every pixel.
        Memory beyond the mask does not grow with H and W.

    Raises:
        ValueError: a grid that is empty or not finite, a map that leaves the grid, a dtype
            that is too small.
    """
    grid = _checked_grid(grid, size_hw, dtype)
    row_samples = axis_samples(rows, size_hw[0], grid.shape[1])
    col_samples = axis_samples(cols, size_hw[1], grid.shape[2])
    row_runs, col_runs = axis_runs(row_samples, _LONGEST_RUN), axis_runs(col_samples, _LONGEST_RUN)
    grid = _two_points(grid)
    mask = np.empty(size_hw, dtype=dtype)
    for band in _bands(row_runs, grid.shape[0] * grid.shape[2]):
        cells = _cell_candidates(grid, band.cells, col_runs.cells)
        _fill(mask, cells, band, col_runs)
        _interpolate_blocks(mask, grid, cells, band, col_runs, row_samples, col_samples)
    return mask


def upsample_plain(
    grid: LogitGrid,
    rows: AxisMap,
    cols: AxisMap,
    size_hw: tuple[int, int],
    *,
    dtype: npt.DTypeLike = np.uint8,
    precision: npt.DTypeLike = np.float32,
) -> LabelMask:
    """The same as ``upsample_argmax`` by interpolating every class at every pixel.

    The reference for tests and measurements: needs C · H · W values of ``precision`` at once.

    Raises:
        ValueError: as ``upsample_argmax``.
    """
    grid = _checked_grid(grid, size_hw, dtype)
    row = axis_samples(rows, size_hw[0], grid.shape[1])
    col = axis_samples(cols, size_hw[1], grid.shape[2])
    values = _two_points(grid).astype(precision)
    down = row.weight.astype(precision)[:, None]
    values = values[:, row.lower] * (1 - down) + values[:, row.lower + 1] * down
    right = col.weight.astype(precision)
    values = values[:, :, col.lower] * (1 - right) + values[:, :, col.lower + 1] * right
    labels: LabelMask = values.argmax(axis=0).astype(dtype)
    return labels


def sample_bilinear(
    plane: Float32Array, rows: AxisMap, cols: AxisMap, size_hw: tuple[int, int]
) -> Float32Array:
    """One map of the grid read at every pixel.

    Args:
        plane: (h, w) float32, such as the highest probability at each grid point.
        rows: maps pixel rows to grid rows.
        cols: the same for columns.
        size_hw: (H, W) of the result, 1 or more each.

    Returns:
        (H, W) float32. Computed in row bands: memory beyond the result does not grow with it.

    Raises:
        ValueError: an empty plane, or a map that leaves it.
    """
    height, width = size_hw
    if plane.ndim != 2 or 0 in plane.shape or height < 1 or width < 1:
        raise ValueError(f"cannot sample a plane of shape {plane.shape} at {size_hw} pixels")
    row, col = axis_samples(rows, height, plane.shape[0]), axis_samples(cols, width, plane.shape[1])
    plane = _two_points(np.asarray(plane, dtype=np.float32)[None])[0]
    result = np.empty(size_hw, dtype=np.float32)
    step = max(1, _CHUNK_PIXELS // width)
    for start in range(0, height, step):
        lower, down = row.lower[start : start + step], row.weight[start : start + step, None]
        band = plane[lower] * (1 - down) + plane[lower + 1] * down
        out = result[start : start + step]
        np.multiply(band.take(col.lower, axis=1), 1 - col.weight, out=out)
        out += band.take(col.lower + 1, axis=1) * col.weight
    return result


def _checked_grid(grid: LogitGrid, size_hw: tuple[int, int], dtype: npt.DTypeLike) -> LogitGrid:
    """The grid as contiguous float32, or a ValueError that says what is wrong with the call."""
    if grid.ndim != 3 or 0 in grid.shape:
        raise ValueError(f"a logit grid is (classes, height, width), not {grid.shape}")
    if min(size_hw) < 1:
        raise ValueError(f"a mask has 1 pixel or more each way, not {size_hw}")
    if dtype not in (np.uint8, np.uint16) or ignore_index_of(len(grid)) > np.iinfo(dtype).max:
        raise ValueError(f"{len(grid)} classes and ignore do not fit in {np.dtype(dtype)}")
    grid = np.ascontiguousarray(grid, dtype=np.float32)
    # NaN passes through min and max; this is one read of the grid without a temporary.
    if not (np.isfinite(grid.min()) and np.isfinite(grid.max())):
        raise ValueError("the logit grid holds NaN or infinity: the network's output is unusable")
    return grid


def _two_points(grid: LogitGrid) -> LogitGrid:
    """The grid with axes of one point doubled, so that every cell has two ends."""
    for axis in (1, 2):
        if grid.shape[axis] == 1:
            grid = np.repeat(grid, 2, axis=axis)
    return grid


def _bands(runs: AxisRuns, values_per_row: int) -> Iterator[AxisRuns]:
    """The runs in groups that touch a bounded number of grid rows."""
    rows = max(1, _BAND_VALUES // values_per_row)
    group = np.abs(runs.cells - runs.cells[0]) // rows
    edges = [0, *(np.flatnonzero(np.diff(group)) + 1), len(group)]
    for start, stop in pairwise(edges):
        part = slice(start, stop)
        yield AxisRuns(runs.cells[part], runs.starts[part], runs.lengths[part])


def _cell_candidates(
    grid: LogitGrid, row_cells: IndexArray, col_cells: IndexArray
) -> _CellCandidates:
    """Which classes may win in each cell between the first and the last of those named."""
    top, bottom = int(row_cells.min()), int(row_cells.max()) + 2
    left, right = int(col_cells.min()), int(col_cells.max()) + 2
    part = grid[:, top:bottom, left:right]
    magnitude = np.maximum(part.max(axis=(1, 2)), -part.min(axis=(1, 2)))
    margin = (magnitude * _ROUNDING + np.finfo(np.float32).tiny)[:, None, None]
    with np.errstate(over="ignore"):  # beyond the largest float: infinite, and rightly a candidate
        highest = _over_corners(part, np.maximum) + margin
        lowest = _over_corners(part, np.minimum) - margin
    possible = highest >= lowest.max(axis=0)
    counts = possible.sum(axis=0, dtype=np.uint16).ravel().astype(np.intp)
    by_cell = np.ascontiguousarray(possible.reshape(len(grid), -1).T)
    classes = np.flatnonzero(by_cell) % len(grid)
    return _CellCandidates(top, left, right - left - 1, counts, np.cumsum(counts) - counts, classes)


def _over_corners(part: LogitGrid, extreme: np.ufunc) -> Float32Array:
    """(C, n - 1, m - 1): the extreme of the four corners of each cell of (C, n, m) points."""
    rows = extreme(part[:, :-1], part[:, 1:])
    result: Float32Array = extreme(rows[:, :, :-1], rows[:, :, 1:])
    return result


def _fill(mask: LabelMask, cells: _CellCandidates, rows: AxisRuns, cols: AxisRuns) -> None:
    """Writes each cell's first candidate into all of its pixels."""
    first = cells.classes[cells.starts].astype(mask.dtype).reshape(-1, cells.cols)
    stripes = first[:, cols.cells - cells.first_col].repeat(cols.lengths, axis=1)
    start, stop = int(rows.starts[0]), int(rows.starts[-1] + rows.lengths[-1])
    stripes.take((rows.cells - cells.first_row).repeat(rows.lengths), axis=0, out=mask[start:stop])


def _interpolate_blocks(
    mask: LabelMask,
    grid: LogitGrid,
    cells: _CellCandidates,
    rows: AxisRuns,
    cols: AxisRuns,
    row_samples: AxisSamples,
    col_samples: AxisSamples,
) -> None:
    """Writes the pixels of the cells with several candidates, a bounded number at a time."""
    cell = (rows.cells - cells.first_row)[:, None] * cells.cols + (cols.cells - cells.first_col)
    block_row, block_col = np.nonzero(cells.counts[cell] > 1)
    # Most candidates first: the blocks that have a k-th one are then the first so many of a chunk.
    order = np.argsort(-cells.counts[cell[block_row, block_col]], kind="stable")
    block_row, block_col = block_row[order], block_col[order]
    step = max(1, _CHUNK_PIXELS // int(rows.lengths.max() * cols.lengths.max()))
    for start in range(0, len(order), step):
        chunk_row, chunk_col = block_row[start : start + step], block_col[start : start + step]
        y, x = _pixels(rows, chunk_row), _pixels(cols, chunk_col)
        labels = _block_labels(
            grid,
            cells,
            cell[chunk_row, chunk_col],
            rows.cells[chunk_row] * grid.shape[2] + cols.cells[chunk_col],
            row_samples.weight[y],
            col_samples.weight[x],
            mask.dtype,
        )
        mask.reshape(-1)[(y * mask.shape[1])[:, None] + x] = labels


def _pixels(runs: AxisRuns, chosen: IndexArray) -> IndexArray:
    """(longest, n): the pixels of the chosen runs, the last one repeated in shorter runs."""
    lengths = runs.lengths[chosen]
    steps = np.minimum(np.arange(lengths.max())[:, None], lengths - 1)
    result: IndexArray = runs.starts[chosen] + steps
    return result


def _block_labels(
    grid: LogitGrid,
    cells: _CellCandidates,
    cell: IndexArray,
    corner: IndexArray,
    down: Float32Array,
    right: Float32Array,
    dtype: npt.DTypeLike,
) -> LabelMask:
    """(R, S, n): the winners in n blocks of R by S pixels.

    ``cell`` (n,) counts in ``cells``, candidates descending; ``corner`` (n,) is the address of
    the cell's first corner in one class of the grid; ``down`` (R, n) and ``right`` (S, n) are
    the weights of the pixels. Blocks are the last axis: that is the long one.
    """
    counts, starts = cells.counts[cell], cells.starts[cell]
    up, left = 1 - down, 1 - right
    best = np.empty((len(down), len(right), len(cell)), dtype=np.float32)
    labels = np.empty(best.shape, dtype=dtype)
    values, other, better = np.empty_like(best), np.empty_like(best), np.empty(best.shape, np.bool_)
    flat, width = grid.reshape(-1), grid.shape[2]
    for k in range(int(counts[0])):
        some = int(np.searchsorted(-counts, -k, side="left"))
        classes = cells.classes[starts[:some] + k]
        at = classes * (grid.shape[1] * width) + corner[:some]
        near = flat[at] * up[:, :some] + flat[at + width] * down[:, :some]
        far = flat[at + 1] * up[:, :some] + flat[at + width + 1] * down[:, :some]
        target = best if k == 0 else values
        value = np.multiply(near[:, None], left[:, :some], out=target[:, :, :some])
        value += np.multiply(far[:, None], right[:, :some], out=other[:, :, :some])
        if k == 0:
            labels[:] = classes
        else:
            higher = np.greater(value, best[:, :, :some], out=better[:, :, :some])
            np.copyto(labels[:, :, :some], classes.astype(dtype), where=higher)
            np.maximum(best[:, :, :some], value, out=best[:, :, :some])
    return labels
