"""Pixels whose highest probability is below a minimum, without the softmax of every pixel.

Most cells of the grid are decided by their four corners (``unsure_bounds``): all of their pixels
are sure, or none is. Only in the others are pixels computed (``unsure_pixels``). The bounds hold
for any rectangle of pixels with its own corners: large cells are looked at again in parts, so that
the cost follows the length of the line at which the minimum is crossed.
"""

import numpy as np

from maskmill.pipeline.labelling.bilinear import (
    AxisRuns,
    axis_runs,
    axis_samples,
)
from maskmill.pipeline.labelling.binary import two_class_grid
from maskmill.pipeline.labelling.blocks import LONGEST_RUN
from maskmill.pipeline.labelling.unsure_bounds import (
    MIXED,
    UNSURE,
    Float32Array,
    block_states,
    cell_states,
)
from maskmill.pipeline.labelling.unsure_pixels import Blocks, Picture, compute_pixels
from maskmill.pipeline.labelling.upsample import bands_of, checked_grid, two_points
from maskmill.pipeline.views.geometry import AxisMap
from maskmill.schemas.arrays import LabelMask, LogitGrid

_PART = 32
"""Pixels per side of the parts of a large cell."""
_BOUND_VALUES = 1 << 19
"""Corner values compared at once; with what is derived from them some 10 MB."""


def ignore_below(
    mask: LabelMask,
    grid: LogitGrid,
    rows: AxisMap,
    cols: AxisMap,
    minimum: float,
    ignore_index: int,
) -> None:
    """Writes ``ignore_index`` where the highest probability of a pixel's own logits is too low.

    The logits of a pixel are the grid's, interpolated bilinearly at its position; their softmax is
    what is compared, so that this equals upsampling all logits and taking softmax and maximum, but
    for pixels within rounding of the minimum (about 1e-5 of it).

    Args:
        mask: (H, W), written to. Memory beyond it does not grow with H and W.
        grid: (C, h, w) float32 logits, finite; one channel is a sigmoid head, two classes.
        rows: maps pixel rows of the mask to grid rows.
        cols: the same for columns.
        minimum: a probability; pixels below it are ignored.
        ignore_index: what to write.

    Raises:
        ValueError: a grid that is empty or not finite, or a map that leaves it.
    """
    grid = checked_grid(two_class_grid(grid) if len(grid) == 1 else grid, mask.shape, mask.dtype)
    if minimum <= 1 / len(grid) or 0 in mask.shape:
        return  # the highest of C probabilities is never lower
    row = axis_samples(rows, mask.shape[0], grid.shape[1])
    col = axis_samples(cols, mask.shape[1], grid.shape[2])
    grid = two_points(grid)
    flat = grid.reshape(len(grid), -1)
    picture = Picture(flat, grid.shape[2], row.weight, col.weight, minimum, mask, ignore_index)
    row_runs, col_runs = axis_runs(row, LONGEST_RUN), axis_runs(col, LONGEST_RUN)
    for band in bands_of(row_runs, grid.shape[0] * grid.shape[2]):
        _do_band(picture, grid, band, col_runs)


def _do_band(picture: Picture, grid: LogitGrid, rows: AxisRuns, cols: AxisRuns) -> None:
    """Decide the cells of a band of grid rows."""
    first, last = int(rows.cells.min()), int(rows.cells.max()) + 2
    states = cell_states(grid[:, first:last], picture.minimum, _BOUND_VALUES)
    states = states[rows.cells - first][:, cols.cells]
    for state, decide in ((UNSURE, _fill), (MIXED, _do_blocks)):
        row, col = np.nonzero(states == state)
        blocks = Blocks(
            rows.starts[row],
            cols.starts[col],
            rows.lengths[row],
            cols.lengths[col],
            rows.cells[row] * grid.shape[2] + cols.cells[col],
        )
        decide(picture, blocks)


def _do_blocks(picture: Picture, blocks: Blocks) -> None:
    """Decide blocks by the values at their own corner pixels; compute what stays open."""
    step = max(1, _BOUND_VALUES // (4 * len(picture.flat)))
    for start in range(0, len(blocks.top), step):
        some = blocks.of(slice(start, start + step))
        corners = _corner_values(picture, some)
        state = block_states(corners, picture.minimum)
        _fill(picture, some.of(state == UNSURE))
        mixed = np.flatnonzero(state == MIXED)
        large = (some.height[mixed] > _PART) & (some.width[mixed] > _PART)
        if large.any():
            _do_blocks(picture, _parts(some.of(mixed[large])))
        compute_pixels(picture, some.of(mixed[~large]), corners.take(mixed[~large], axis=2))


def _corner_values(picture: Picture, blocks: Blocks) -> Float32Array:
    """(C, 4, n): the logits at the corner pixels of each block."""
    at = blocks.corner
    above_left, above_right = (picture.flat.take(at + beside, axis=1) for beside in (0, 1))
    at = at + picture.stride
    below_left, below_right = (picture.flat.take(at + beside, axis=1) for beside in (0, 1))
    values = np.empty((len(picture.flat), 4, len(at)), dtype=np.float32)
    ends = (blocks.left, blocks.left + blocks.width - 1)
    for place, row in enumerate((blocks.top, blocks.top + blocks.height - 1)):
        down = picture.down[row]
        near = above_left + (below_left - above_left) * down
        far = above_right + (below_right - above_right) * down
        for side, col in enumerate(ends):
            values[:, 2 * place + side] = near + (far - near) * picture.right[col]
    return values


def _fill(picture: Picture, blocks: Blocks) -> None:
    """Ignore whole blocks, neighbours in a row at once."""
    if not len(blocks.top):
        return
    right = blocks.left + blocks.width
    apart = (blocks.top[1:] != blocks.top[:-1]) | (blocks.left[1:] != right[:-1])
    apart |= blocks.height[1:] != blocks.height[:-1]
    first = np.flatnonzero(np.concatenate([[True], apart]))
    last = np.append(first[1:], len(right)) - 1
    for top, left, height, stop in zip(
        blocks.top[first].tolist(),
        blocks.left[first].tolist(),
        blocks.height[first].tolist(),
        right[last].tolist(),
        strict=True,
    ):
        picture.mask[top : top + height, left:stop] = picture.ignore


def _parts(blocks: Blocks) -> Blocks:
    """Each block cut into parts of at most ``_PART`` pixels a side."""
    down, right = -(-blocks.height // _PART), -(-blocks.width // _PART)
    count = down * right
    whole = np.repeat(np.arange(len(count)), count)
    place = np.arange(len(whole)) - np.repeat(np.cumsum(count) - count, count)
    row, col = np.divmod(place, right[whole])
    top, left = row * _PART, col * _PART
    return Blocks(
        blocks.top[whole] + top,
        blocks.left[whole] + left,
        np.minimum(blocks.height[whole] - top, _PART),
        np.minimum(blocks.width[whole] - left, _PART),
        blocks.corner[whole],
    )
