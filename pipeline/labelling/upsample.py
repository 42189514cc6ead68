"""From a logit grid to the label of every original pixel, exactly and without upsampling it all.

Between four grid points bilinear interpolation stays within the four values. So, in one cell of
the grid, a class whose largest corner lies below another class's smallest corner wins no pixel.
Most cells are left with one class and are filled with it. The others are looked at again in blocks
of a few pixels, whose own corners leave one class in most of these; only in the rest are the
remaining classes interpolated. The cost follows the length of the boundaries, not pixels times
classes.

The arithmetic of the pixels that are interpolated is that of ``upsample_plain`` operation by
operation, and a class is dropped only where it is below by more than that arithmetic can round:
the two functions agree on every pixel, those with equal highest values included (lowest class).
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.labelling.bilinear import AxisRuns, axis_samples
from maskmill.pipeline.labelling.blocks import CHUNK_PIXELS, Blocks, block_runs, label_blocks
from maskmill.pipeline.labelling.pruning import Float32Array
from maskmill.pipeline.views.geometry import AxisMap
from maskmill.schemas.arrays import LabelMask, LogitGrid, ignore_index_of

_BAND_VALUES = 1 << 20
"""Values of the grid compared at once; with what is derived from them about 16 MB."""


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
    grid = two_points(grid)
    runs, is_fine = block_runs(row_samples, col_samples)
    mask = np.empty(size_hw, dtype=dtype)
    for band in bands_of(runs[0], grid.shape[0] * grid.shape[2]):
        blocks = Blocks(band, runs[1], row_samples.weight, col_samples.weight)
        label_blocks(mask, grid, blocks, is_fine=is_fine)
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
