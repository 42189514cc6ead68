"""Whether the highest probability is below a minimum, computed at every pixel of some blocks.

In a block a few classes make up the sum; the many others are one class with a value below and one
with a value above what they add together (``tail_bounds``). Pixels that these two do not decide
alike are few: for them the softmax is computed whole.

Along a row of pixels within a cell each logit changes by equal steps, so its power changes by
equal factors: a multiplication in place of an exponential.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.labelling.bilinear import IndexArray
from maskmill.pipeline.labelling.unsure_bounds import Float32Array, tail_bounds
from maskmill.schemas.arrays import LabelMask

BoolArray = npt.NDArray[np.bool_]

_HEAVY = 0.01
"""Classes below this share of the greatest term all over a block are bounded together."""
_CHUNK_VALUES = 1 << 16
"""Values interpolated at once: with what is derived from them about a core's cache."""
_RANGE = 60.0
"""Logits whose differences are below this have powers that float32 holds."""
_NOTHING = np.float32(-60.0)
"""A logit whose power is nothing beside 1."""
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
    """Ignore the unsure pixels of blocks, given the (C, 4, n) logits at their corner pixels."""
    if not len(blocks.top):
        return
    lead = corners.sum(axis=1).argmax(axis=0)
    ahead = corners - np.take_along_axis(corners, lead[None, None], axis=0)
    highest, lowest = ahead.max(axis=1), ahead.min(axis=1)
    wins, heavy = highest >= lowest.max(axis=0), highest > math.log(_HEAVY)
    number, winners = heavy.sum(axis=0), wins.sum(axis=0)
    some_heavy = np.flatnonzero(heavy.any(axis=1))  # a class that wins somewhere is heavy there
    ranks = wins[some_heavy].astype(np.int8) + heavy[some_heavy]
    classes = some_heavy[np.argsort(-ranks, axis=0, kind="stable")]
    tail = tail_bounds(ahead, ~heavy)
    quick = np.maximum(highest, -lowest).max(axis=0, where=heavy, initial=0) < _RANGE
    quick &= (tail > -_RANGE).all(axis=(0, 1)) & _are_even(picture, blocks)
    for cells, decide in ((np.flatnonzero(quick), _by_steps), (np.flatnonzero(~quick), _by_pixels)):
        for chosen in _chunks(cells, number, blocks):
            some, kinds = blocks.of(chosen), classes[: number[chosen[0]]].take(chosen, axis=1)
            values = ahead[kinds[:, None], np.arange(4)[:, None], chosen]
            in_tail = np.arange(len(kinds))[:, None] >= number[chosen]
            values = np.where(in_tail[:, None], _NOTHING, values)
            values = np.concatenate([values, tail[:, :, chosen]])
            lines = _lines(picture, some, values, int(winners[chosen].max()))
            low, undecided = decide(lines, picture.minimum)
            _decide(lines, ahead, chosen, low, undecided, picture.minimum)
            _mark(picture, some, low)


def _are_even(picture: Picture, blocks: Blocks) -> BoolArray:
    """(n,): whether the weights of a block's columns change by equal steps."""
    last = blocks.left + blocks.width - 1
    change = np.abs(np.diff(picture.right, prepend=picture.right[:1], append=picture.right[-1:]))
    mean = np.abs(picture.right[last] - picture.right[blocks.left])
    mean /= np.maximum(blocks.width - 1, 1).astype(np.float32)
    # A clamp stretches a run at either end, or at both.
    after, before = change[np.minimum(blocks.left + 1, len(picture.right) - 1)], change[last]
    even = (np.abs(after - mean) < _EVEN) & (np.abs(before - mean) < _EVEN)
    result: BoolArray = even | (blocks.width < 3)
    return result


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
    """Pixel rows of n blocks: logits less the lead's, (K + 2, R, n), at the left and right pixel.

    ``slope`` is what the right one has more. The first ``winners`` of the classes are those that
    may be the highest somewhere; the last two stand for the classes that are bounded together.
    ``down`` (R, n) and ``right`` (S, n) say how far the pixels are from the block's first row to
    its last one and from its first column, from 0 to 1.
    """

    near: Float32Array
    slope: Float32Array
    down: Float32Array
    right: Float32Array
    winners: int


def _lines(picture: Picture, blocks: Blocks, values: Float32Array, winners: int) -> _Lines:
    down = _fractions(picture.down, blocks.top, blocks.height)
    right = _fractions(picture.right, blocks.left, blocks.width)
    near = values[:, None, 0] + (values[:, 2] - values[:, 0])[:, None] * down
    far = values[:, None, 1] + (values[:, 3] - values[:, 1])[:, None] * down
    return _Lines(near, far - near, down, right, winners)


def _fractions(weights: Float32Array, first: IndexArray, count: IndexArray) -> Float32Array:
    """(longest, n): weights of ``count`` pixels on from the first, as parts of their whole span."""
    steps = np.minimum(np.arange(count.max())[:, None], count - 1)
    start = weights[first]
    span = weights[first + count - 1] - start
    span[span == 0] = 1
    parts: Float32Array = (weights[first + steps] - start) / span
    return parts


def _by_steps(lines: _Lines, minimum: float) -> tuple[BoolArray, BoolArray]:
    """(S, R, n) each: below the minimum for sure; not known.

    Along a row each logit changes evenly, so each power by the same factor.
    """
    kinds, shape = len(lines.near), lines.near.shape[1:]
    powers = np.exp(lines.near).reshape(kinds, -1)
    step = lines.right[1] if len(lines.right) > 1 else lines.right[0]
    factors = np.exp(lines.slope * step).reshape(kinds, -1)
    low = np.empty((len(lines.right), powers.shape[1]), dtype=np.bool_)
    maybe = np.empty_like(low)
    highest, total = np.empty_like(powers[0]), np.empty_like(powers[0])
    for across, perhaps in zip(low, maybe, strict=True):
        np.maximum.reduce(powers[: lines.winners], axis=0, out=highest)
        np.add.reduce(powers[:-2], axis=0, out=total)
        highest *= np.float32(1 / minimum)
        highest -= total
        np.less(highest, powers[-2], out=across)
        np.less(highest, powers[-1], out=perhaps)
        powers *= factors
    maybe &= ~low
    return low.reshape(len(low), *shape), maybe.reshape(len(low), *shape)


def _by_pixels(lines: _Lines, minimum: float) -> tuple[BoolArray, BoolArray]:
    """The same by the powers of each pixel's own logits, whatever their range."""
    low = np.empty((len(lines.right), *lines.near.shape[1:]), dtype=np.bool_)
    maybe = np.empty_like(low)
    for across, perhaps, right in zip(low, maybe, lines.right, strict=True):
        values = lines.near + lines.slope * right
        values -= values[: lines.winners].max(axis=0)
        np.exp(values, out=values)
        room = np.float32(1 / minimum) - values[:-2].sum(axis=0)
        np.less(room, values[-2], out=across)
        np.less(room, values[-1], out=perhaps)
    maybe &= ~low
    return low, maybe


def _decide(
    lines: _Lines,
    ahead: Float32Array,
    chosen: IndexArray,
    low: BoolArray,
    undecided: BoolArray,
    minimum: float,
) -> None:
    """The undecided pixels (S, R, n) by all classes, (C, 4, blocks) of them; written to ``low``."""
    places = np.flatnonzero(undecided)  # few: much faster than three axes at once
    col, row, block = np.unravel_index(places, undecided.shape)
    step = max(1, _CHUNK_VALUES // len(ahead))
    for start in range(0, len(col), step):
        x, y, k = (part[start : start + step] for part in (col, row, block))
        corners = ahead.take(chosen[k], axis=2)
        down, right = lines.down[y, k], lines.right[x, k]
        up, left = 1 - down, 1 - right
        shares = np.stack([up * left, up * right, down * left, down * right])
        values = np.einsum("cin,in->cn", corners, shares)
        values -= values.max(axis=0)
        total = np.exp(values, out=values).sum(axis=0)
        low[x, y, k] = total * np.float32(minimum) > 1


def _mark(picture: Picture, blocks: Blocks, low: BoolArray) -> None:
    """Ignore the pixels (S, R, n) of blocks; those beyond a block's edges are none."""
    per_block = np.ascontiguousarray(low.transpose(2, 1, 0))
    for low_here, top, left, height, width in zip(
        per_block,
        blocks.top.tolist(),
        blocks.left.tolist(),
        blocks.height.tolist(),
        blocks.width.tolist(),
        strict=True,
    ):
        pixels = picture.mask[top : top + height, left : left + width]
        np.copyto(pixels, picture.ignore, where=low_here[:height, :width])
