"""From a logit grid to the label of every original pixel, exactly and without upsampling it all.

Between four grid points bilinear interpolation stays within the four values. So, in one cell of
the grid, a class whose largest corner lies below another class's smallest corner wins no pixel.
Most cells are left with one class and are filled with it; only in the others are the remaining
classes interpolated. The cost follows the length of the boundaries, not pixels times classes.

The arithmetic of the pixels that are interpolated is that of ``upsample_plain`` operation by
operation, and a class is dropped only where it is below by more than that arithmetic can round:
the two functions agree on every pixel, those with equal highest values included (lowest class).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.labelling.bilinear import AxisRuns, IndexArray, axis_runs, axis_samples
from maskmill.pipeline.labelling.pruning import Candidates, Float32Array, candidates, contest
from maskmill.pipeline.views.geometry import AxisMap
from maskmill.schemas.arrays import LabelMask, LogitGrid, ignore_index_of

_BAND_VALUES = 1 << 20
"""Values of the grid compared at once; with what is derived from them about 16 MB."""
CHUNK_PIXELS = 1 << 17
"""Pixels interpolated at once; with values, labels and addresses about 2.5 MB (a core's cache)."""
LONGEST_RUN = 64
"""Pixels per side of the blocks that are interpolated."""
ROUNDING = 8 * float(np.finfo(np.float32).eps)
"""Bound, relative to a class's largest magnitude, of the rounding of one interpolated value."""


@dataclass(frozen=True, slots=True)
class _Cells:
    """The candidates of the cells of a band of the grid, row after row of ``cols`` cells."""

    first_row: int
    first_col: int
    cols: int
    found: Candidates


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
    grid = checked_grid(grid, size_hw, dtype)
    row_samples = axis_samples(rows, size_hw[0], grid.shape[1])
    col_samples = axis_samples(cols, size_hw[1], grid.shape[2])
    row_runs, col_runs = axis_runs(row_samples, LONGEST_RUN), axis_runs(col_samples, LONGEST_RUN)
    grid = two_points(grid)
    mask = np.empty(size_hw, dtype=dtype)
    for band in bands_of(row_runs, grid.shape[0] * grid.shape[2]):
        cells = _cell_candidates(grid, band.cells, col_runs.cells)
        _fill(mask, cells, band, col_runs)
        _interpolate_blocks(
            mask, grid, cells, (band, col_runs), (row_samples.weight, col_samples.weight)
        )
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
    grid = checked_grid(grid, size_hw, dtype)
    row = axis_samples(rows, size_hw[0], grid.shape[1])
    col = axis_samples(cols, size_hw[1], grid.shape[2])
    values = two_points(grid).astype(precision)
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
    plane = two_points(np.asarray(plane, dtype=np.float32)[None])[0]
    result = np.empty(size_hw, dtype=np.float32)
    step = max(1, CHUNK_PIXELS // width)
    for start in range(0, height, step):
        lower, down = row.lower[start : start + step], row.weight[start : start + step, None]
        band = plane[lower] * (1 - down) + plane[lower + 1] * down
        out = result[start : start + step]
        np.multiply(band.take(col.lower, axis=1), 1 - col.weight, out=out)
        out += band.take(col.lower + 1, axis=1) * col.weight
    return result


def checked_grid(grid: LogitGrid, size_hw: tuple[int, int], dtype: npt.DTypeLike) -> LogitGrid:
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


def two_points(grid: LogitGrid) -> LogitGrid:
    """The grid with axes of one point doubled, so that every cell has two ends."""
    for axis in (1, 2):
        if grid.shape[axis] == 1:
            grid = np.repeat(grid, 2, axis=axis)
    return grid


def bands_of(runs: AxisRuns, values_per_row: int) -> Iterator[AxisRuns]:
    """The runs in groups that touch a bounded number of grid rows."""
    rows = max(1, _BAND_VALUES // values_per_row)
    group = np.abs(runs.cells - runs.cells[0]) // rows
    edges = [0, *(np.flatnonzero(np.diff(group)) + 1), len(group)]
    for start, stop in pairwise(edges):
        part = slice(start, stop)
        yield AxisRuns(runs.cells[part], runs.starts[part], runs.lengths[part])


def _cell_candidates(grid: LogitGrid, row_cells: IndexArray, col_cells: IndexArray) -> _Cells:
    """Which classes may win in each cell between the first and the last of those named."""
    top, bottom = int(row_cells.min()), int(row_cells.max()) + 2
    left, right = int(col_cells.min()), int(col_cells.max()) + 2
    part = grid[:, top:bottom, left:right]
    magnitude = np.maximum(part.max(axis=(1, 2)), -part.min(axis=(1, 2)))
    margin = (magnitude * ROUNDING + np.finfo(np.float32).tiny)[:, None, None]
    with np.errstate(over="ignore"):  # beyond the largest float: infinite, and rightly a candidate
        lowest = over_corners(part, np.minimum) - margin
        highest = over_corners(part, np.maximum) + margin
    return _Cells(top, left, right - left - 1, candidates(lowest, highest))


def over_corners(part: LogitGrid, extreme: np.ufunc) -> Float32Array:
    """(C, n - 1, m - 1): the extreme of the four corners of each cell of (C, n, m) points."""
    rows = extreme(part[:, :-1], part[:, 1:])
    result: Float32Array = extreme(rows[:, :, :-1], rows[:, :, 1:])
    return result


def _fill(mask: LabelMask, cells: _Cells, rows: AxisRuns, cols: AxisRuns) -> None:
    """Writes each cell's first candidate into all of its pixels."""
    first = cells.found.first(mask.dtype).reshape(-1, cells.cols)
    stripes = first[:, cols.cells - cells.first_col].repeat(cols.lengths, axis=1)
    start, stop = int(rows.starts[0]), int(rows.starts[-1] + rows.lengths[-1])
    stripes.take((rows.cells - cells.first_row).repeat(rows.lengths), axis=0, out=mask[start:stop])


def _interpolate_blocks(
    mask: LabelMask,
    grid: LogitGrid,
    cells: _Cells,
    runs: tuple[AxisRuns, AxisRuns],
    weights: tuple[Float32Array, Float32Array],
) -> None:
    """Writes the pixels of the cells with several candidates, a bounded number at a time."""
    rows, cols = runs
    cell = (rows.cells - cells.first_row)[:, None] * cells.cols + (cols.cells - cells.first_col)
    blocks = cells.found.contested(cell.reshape(-1))
    step = max(1, CHUNK_PIXELS // int(rows.lengths.max() * cols.lengths.max()))
    for start in range(0, len(blocks), step):
        row, col = np.divmod(blocks[start : start + step], len(cols.cells))
        y, x = rows.pixels(row), cols.pixels(col)
        corner = rows.cells[row] * grid.shape[2] + cols.cells[col]
        values_of = bilinear_values(grid, corner, weights[0][y], weights[1][x])
        labels, _ = contest(cells.found, cell[row, col], (len(y), len(x)), values_of, mask.dtype)
        mask.reshape(-1)[(y * mask.shape[1])[:, None] + x] = labels


def bilinear_values(
    grid: LogitGrid, corner: IndexArray, down: Float32Array, right: Float32Array
) -> Callable[[IndexArray, Float32Array], None]:
    """What writes the values of one class per block at the block's pixels.

    ``corner`` (n,) is the address of the cell's first corner in a plane of the grid; ``down``
    (R, n) and ``right`` (S, n) are the weights of the pixels. Same operations as the plain way.
    """
    flat, (height, width) = grid.reshape(-1), grid.shape[1:]
    up, left = 1 - down, 1 - right
    scratch = np.empty((len(down), len(right), len(corner)), dtype=np.float32)

    def write(classes: IndexArray, out: Float32Array) -> None:
        some = len(classes)
        at = classes * (height * width) + corner[:some]
        near = flat[at] * up[:, :some] + flat[at + width] * down[:, :some]
        far = flat[at + 1] * up[:, :some] + flat[at + width + 1] * down[:, :some]
        np.multiply(near[:, None], left[:, :some], out=out)
        out += np.multiply(far[:, None], right[:, :some], out=scratch[:, :, :some])

    return write
