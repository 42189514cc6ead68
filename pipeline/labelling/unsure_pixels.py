"""Whether the highest probability is below a minimum, computed at every pixel of some blocks.

Along a row of pixels within a cell each logit changes by equal steps, so its power changes by
equal factors: a multiplication in place of an exponential.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.labelling.bilinear import IndexArray
from maskmill.schemas.arrays import LabelMask

Float32Array = npt.NDArray[np.float32]

_LEFT_OUT = 1e-6
"""Share of the greatest term that all the classes left out of a sum have together, at most."""
_CHUNK_VALUES = 1 << 16
"""Values interpolated at once: with what is derived from them about a core's cache."""
_RANGE = 60.0
"""Logits whose differences are below this have powers that float32 holds."""
_EVEN = 1e-6
"""Differences of weights that are rounding."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """n rectangles of pixels: first row and column, height and width, and their cell's corner.

    ``corner`` is the address of the cell's first corner in a plane of the grid.
    """

    top: IndexArray
    left: IndexArray
    height: IndexArray
    width: IndexArray
    corner: IndexArray

    def of(self, chosen: npt.NDArray[np.bool_] | IndexArray | slice) -> "Blocks":
        """Some of them."""
        parts = (self.top, self.left, self.height, self.width, self.corner)
        return Blocks(*(part[chosen] for part in parts))


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What is read (grid and weights), against what, and where the outcome goes."""

    flat: Float32Array  # (C, h · w)
    stride: int
    down: Float32Array
    right: Float32Array
    minimum: float
    mask: LabelMask
    ignore: int


def compute_pixels(picture: Picture, blocks: Blocks, corners: Float32Array) -> None:
    """Ignore the unsure pixels of blocks, those with the most classes that count first."""
    if not len(blocks.top):
        return
    lead = corners.sum(axis=1).argmax(axis=0)
    ahead = corners - np.take_along_axis(corners, lead[None, None], axis=0)
    counts = ahead.max(axis=1) > math.log(_LEFT_OUT / len(corners))
    wins = corners.max(axis=1) >= corners.min(axis=1).max(axis=0)
    number, winners = counts.sum(axis=0), wins.sum(axis=0)
    classes = np.argsort(-(wins.astype(np.int8) + counts), axis=0, kind="stable")
    step, even = _even_steps(picture, blocks)
    quick = even & (np.abs(ahead).max(axis=(0, 1)) < _RANGE)
    for cells, by_steps in ((np.flatnonzero(quick), True), (np.flatnonzero(~quick), False)):
        for chosen in _chunks(cells, number, blocks):
            some, kinds = blocks.of(chosen), classes[: number[chosen[0]]].take(chosen, axis=1)
            lines = _lines(picture, some, kinds, lead[chosen], int(winners[chosen].max()))
            if by_steps:
                low = _unsure_by_steps(picture, lines, step[chosen])
            else:
                low = _unsure_by_pixels(picture, lines)
            _mark(picture, some, low)


def _even_steps(picture: Picture, blocks: Blocks) -> tuple[Float32Array, npt.NDArray[np.bool_]]:
    """(n,) each: the change of weight from column to column, and whether it is the same for all."""
    last = blocks.left + blocks.width - 1
    first = picture.right[blocks.left]
    step = (picture.right[last] - first) / np.maximum(blocks.width - 1, 1)
    change = np.abs(np.diff(picture.right, prepend=picture.right[:1], append=picture.right[-1:]))
    after, before = change[np.minimum(blocks.left + 1, len(picture.right) - 1)], change[last]
    even = (blocks.width < 3) | (np.abs(after - before) < _EVEN)
    return step, even


def _chunks(order: IndexArray, number: IndexArray, blocks: Blocks) -> Iterator[IndexArray]:
    """The blocks of ``order``, most classes first, as many at once as memory is meant for."""
    order = order[np.argsort(-number[order], kind="stable")]
    start = 0
    while start < len(order):
        lines = int(number[order[start]]) * int(blocks.height.max())
        size = max(1, _CHUNK_VALUES // lines)
        yield order[start : start + size]
        start += size


@dataclass(frozen=True, slots=True)
class _Lines:
    """Pixel rows of n blocks: logits less the lead's, (K, R, n), at their cell's two sides.

    ``near`` belongs to the weight 0 of the columns and ``slope`` is what the weight 1 adds.
    ``columns`` (S, n) are the blocks' pixel columns, the last one repeated in narrower blocks.
    The first ``winners`` of the K classes are those that may be the highest somewhere.
    """

    near: Float32Array
    slope: Float32Array
    columns: IndexArray
    winners: int


def _lines(
    picture: Picture, blocks: Blocks, classes: IndexArray, lead: IndexArray, winners: int
) -> _Lines:
    steps = np.minimum(np.arange(blocks.height.max())[:, None], blocks.height - 1)
    down = picture.down[blocks.top + steps]
    sides = []
    for beside in (0, 1):
        above = blocks.corner + beside
        below = above + picture.stride
        first = picture.flat[classes, above] - picture.flat[lead, above]
        second = picture.flat[classes, below] - picture.flat[lead, below]
        sides.append(first[:, None] * (1 - down) + second[:, None] * down)
    across = np.minimum(np.arange(blocks.width.max())[:, None], blocks.width - 1)
    return _Lines(sides[0], sides[1] - sides[0], blocks.left + across, winners)


def _unsure_by_steps(picture: Picture, lines: _Lines, step: Float32Array) -> npt.NDArray[np.bool_]:
    """(S, R, n): along a row each logit changes evenly, so each power by the same factor."""
    kinds, shape = len(lines.near), lines.near.shape[1:]
    powers = np.exp(lines.near + lines.slope * picture.right[lines.columns[0]]).reshape(kinds, -1)
    factors = np.exp(lines.slope * step).reshape(kinds, -1)
    low = np.empty((len(lines.columns), powers.shape[1]), dtype=np.bool_)
    highest, total = np.empty_like(powers[0]), np.empty_like(powers[0])
    for across in low:
        np.maximum.reduce(powers[: lines.winners], axis=0, out=highest)
        np.add.reduce(powers, axis=0, out=total)
        total *= np.float32(picture.minimum)
        np.less(highest, total, out=across)
        powers *= factors
    return low.reshape(len(low), *shape)


def _unsure_by_pixels(picture: Picture, lines: _Lines) -> npt.NDArray[np.bool_]:
    """(S, R, n): the same by the powers of each pixel's own logits, whatever their range."""
    low = np.empty((len(lines.columns), *lines.near.shape[1:]), dtype=np.bool_)
    for across, columns in zip(low, lines.columns, strict=True):
        values = lines.near + lines.slope * picture.right[columns]
        values -= values.max(axis=0)
        total = np.exp(values, out=values).sum(axis=0)
        np.greater(total * np.float32(picture.minimum), 1, out=across)
    return low


def _mark(picture: Picture, blocks: Blocks, low: npt.NDArray[np.bool_]) -> None:
    """Ignore the pixels (S, R, n) of blocks; those beyond a block's edges are none."""
    across, down = np.arange(len(low))[:, None, None], np.arange(low.shape[1])[:, None]
    low &= (across < blocks.width) & (down < blocks.height)
    col, row, block = np.nonzero(low)
    address = (blocks.top[block] + row) * picture.mask.shape[1] + blocks.left[block] + col
    picture.mask.reshape(-1)[address] = picture.ignore
