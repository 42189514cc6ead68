"""Blocks of pixels within the cells of a logit grid, and their labels.

A block is a run of rows by a run of columns between the same four grid points.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from maskmill.pipeline.labelling.bilinear import AxisRuns, AxisSamples, IndexArray, axis_runs
from maskmill.pipeline.labelling.pruning import (
    Candidates,
    Float32Array,
    candidates,
    contest,
    narrowed,
)
from maskmill.schemas.arrays import LabelMask, LogitGrid

CHUNK_PIXELS = 1 << 17
"""Pixels interpolated at once; with values, labels and addresses about 2.5 MB (a core's cache)."""
LONGEST_RUN = 64
"""Pixels per side of the blocks that are interpolated."""
_SIDE = 12
"""Pixels per side of the blocks that large cells are cut into."""
_NARROWED_BLOCKS = 1 << 13
"""Blocks whose corners are looked at together."""
ROUNDING = 8 * float(np.finfo(np.float32).eps)
"""Bound, relative to a class's largest magnitude, of the rounding of one interpolated value."""


@dataclass(frozen=True, slots=True)
class _Cells:
    """The candidates of the cells of a band of the grid, row after row of ``cols`` cells.

    ``margin`` (C,) bounds the rounding of a class's values.
    """

    first_row: int
    first_col: int
    cols: int
    found: Candidates
    margin: Float32Array


@dataclass(frozen=True, slots=True)
class _Undecided:
    """Blocks with several candidates: ``blocks`` (n,) which, their ``cells`` (n,) in ``found``."""

    blocks: IndexArray
    cells: IndexArray
    found: Candidates

    def parts(self, step: int) -> "Iterator[_Undecided]":
        """The same, ``step`` blocks at a time."""
        for start in range(0, len(self.blocks), step):
            part = slice(start, start + step)
            yield _Undecided(self.blocks[part], self.cells[part], self.found)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of pixels, each within one cell: runs of rows by runs of columns."""

    rows: AxisRuns
    cols: AxisRuns
    down: Float32Array
    right: Float32Array

    def split(self, blocks: IndexArray) -> tuple[IndexArray, IndexArray]:
        """Which run of rows and which of columns each block is."""
        row, col = np.divmod(blocks, len(self.cols.cells))
        return row, col

    def cells(self, cells: _Cells) -> IndexArray:
        """(rows, cols) the cell of each."""
        row, col = self.rows.cells - cells.first_row, self.cols.cells - cells.first_col
        result: IndexArray = row[:, None] * cells.cols + col
        return result

    def values(
        self, grid: LogitGrid, blocks: IndexArray, y: IndexArray, x: IndexArray
    ) -> Callable[[IndexArray, Float32Array], None]:
        """What writes values at pixels ``y`` (R, n) and ``x`` (S, n) of the blocks."""
        row, col = self.split(blocks)
        corner = self.rows.cells[row] * grid.shape[2] + self.cols.cells[col]
        return bilinear_values(grid, corner, self.down[y], self.right[x])


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
    found = candidates(lowest, highest)
    return _Cells(top, left, right - left - 1, found, margin.reshape(-1))


def over_corners(part: LogitGrid, extreme: np.ufunc) -> Float32Array:
    """(C, n - 1, m - 1): the extreme of the four corners of each cell of (C, n, m) points."""
    rows = extreme(part[:, :-1], part[:, 1:])
    result: Float32Array = extreme(rows[:, :, :-1], rows[:, :, 1:])
    return result


def block_runs(rows: AxisSamples, cols: AxisSamples) -> tuple[tuple[AxisRuns, AxisRuns], bool]:
    """Runs of rows and columns; and whether there are many in a cell, so that corners pay."""
    whole = axis_runs(rows, LONGEST_RUN), axis_runs(cols, LONGEST_RUN)
    if min(int(runs.lengths.max()) for runs in whole) < 2 * _SIDE:
        return whole, False
    return (axis_runs(rows, _SIDE), axis_runs(cols, _SIDE)), True


def label_blocks(mask: LabelMask, grid: LogitGrid, blocks: Blocks, *, is_fine: bool) -> None:
    """Writes the labels of all pixels of the blocks."""
    cells = _cell_candidates(grid, blocks.rows.cells, blocks.cols.cells)
    cell = blocks.cells(cells)
    first = cells.found.first(mask.dtype)[cell]
    contested = cells.found.contested(cell.reshape(-1))
    undecided = [_Undecided(contested, cell.reshape(-1)[contested], cells.found)]
    if is_fine:
        undecided = [
            _narrow(first, grid, blocks, part, 2 * cells.margin)
            for part in undecided[0].parts(_NARROWED_BLOCKS)
        ]
    _fill(mask, first, blocks)
    step = max(1, CHUNK_PIXELS // int(blocks.rows.lengths.max() * blocks.cols.lengths.max()))
    for several in undecided:
        for part in several.parts(step):
            _interpolate(mask, grid, blocks, part)


def _narrow(
    first: LabelMask, grid: LogitGrid, blocks: Blocks, several: _Undecided, room: Float32Array
) -> _Undecided:
    """Those of the blocks that their corners leave undecided; ``first`` gets what these leave."""
    row, col = blocks.split(several.blocks)
    y, x = (
        np.stack([runs.starts[at], runs.starts[at] + runs.lengths[at] - 1])
        for runs, at in ((blocks.rows, row), (blocks.cols, col))
    )
    corners_of = blocks.values(grid, several.blocks, y, x)
    found = narrowed(several.found, several.cells, corners_of, room)
    first.reshape(-1)[several.blocks] = found.first(first.dtype)
    left = found.contested(np.arange(len(several.blocks)))
    return _Undecided(several.blocks[left], left, found)


def _fill(mask: LabelMask, first: LabelMask, blocks: Blocks) -> None:
    """Writes one label per block into all of its pixels."""
    rows = blocks.rows
    stripes = first.repeat(blocks.cols.lengths, axis=1)
    start, stop = int(rows.starts[0]), int(rows.starts[-1] + rows.lengths[-1])
    which = np.arange(len(first)).repeat(rows.lengths)
    stripes.take(which, axis=0, out=mask[start:stop])


def _interpolate(mask: LabelMask, grid: LogitGrid, blocks: Blocks, several: _Undecided) -> None:
    """Writes the pixels of blocks with several candidates."""
    row, col = blocks.split(several.blocks)
    y, x = blocks.rows.pixels(row), blocks.cols.pixels(col)
    values_of = blocks.values(grid, several.blocks, y, x)
    pixels = len(y), len(x)
    labels, _ = contest(several.found, several.cells, pixels, values_of, mask.dtype)
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
