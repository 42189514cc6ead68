"""Flags of a picture as bits, 64 to a word: widened and counted at a fraction of what bytes cost.

A plane is flat: the rows lie one after the other, each followed by as many unused bits as anything
is moved sideways, so that moving the whole plane moves every pixel and what leaves a row meets
nothing of the next. Above the first row lie as many empty rows.

Whether a square around a pixel holds anything is asked of a window that begins above and left of
it. A window of n at a place and one s <= n bits farther on are together one of n + s, so windows
of all sizes need a few steps, each of them one way only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.metrics.compiled import native
from maskmill.schemas.arrays import BoolMask

Plane = npt.NDArray[np.uint64]
"""(rows * words,) bits in the order of the pixels, lowest first; of several (N, rows * words)."""

Places = npt.NDArray[np.intp]
"""(N,) positions y * span + x."""

_WORD = 64
_LITTLE = np.dtype("<u8")  # the order in which packbits fills bytes, on any machine


@dataclass(frozen=True, slots=True)
class PlaneLayout:
    """How pictures of one size lie in planes: ``words`` to a row, ``reach + 1`` rows above."""

    height: int
    width: int
    reach: int
    words: int

    @classmethod
    def of(cls, shape: tuple[int, ...], reach: int) -> "PlaneLayout":
        """Room for windows around the pixels of (H, W) that reach so many pixels, at least 1."""
        return cls(shape[0], shape[1], reach, -(-(shape[1] + reach) // _WORD))

    @property
    def span(self) -> int:
        """Bits from a row to the next."""
        return self.words * _WORD

    @property
    def top(self) -> int:
        """The word at which the picture's first row begins."""
        return (self.reach + 1) * self.words

    def empty(self) -> Plane:
        """A plane without a bit."""
        return np.zeros(self.top + self.height * self.words, dtype=_LITTLE)

    def rows(self, plane: Plane, row: int, count: int) -> Plane:
        """(count, words) the picture's rows from ``row`` on, to write to."""
        start = self.top + row * self.words
        return plane[start : start + count * self.words].reshape(-1, self.words)

    def slab(self, planes: Sequence[Plane], row: int, count: int) -> tuple["PlaneLayout", Plane]:
        """So many rows from ``row`` on of several planes, with what windows around them reach.

        Gives the layout of these rows and (N, n) copies, to be used up.
        """
        start, reached = row * self.words, self.top + (row + count + self.reach) * self.words
        copies = np.stack([plane[start:reached] for plane in planes])
        return PlaneLayout(count, self.width, self.reach, self.words), copies

    def widened(self, planes: Plane, size: int, wanted: int) -> Plane:
        """Set where the square of ``wanted`` pixels whose first corner lies there holds a bit.

        Args:
            planes: (N, n) the same for squares of ``size``, which may be 1; they are used up.
            size: at most ``wanted``.
            wanted: the side of the squares.
        """
        if loops := native():
            for plane in planes:
                loops.widen(plane, size, wanted, self.words)
            return planes
        other, work = np.empty_like(planes), (np.empty_like(planes), np.empty_like(planes))
        while size < wanted:
            step = min(size, wanted - size)
            _widen(planes, step, work)
            down = min(step * self.words, planes.shape[1])
            np.bitwise_or(planes[:, : planes.shape[1] - down], planes[:, down:], other[:, :-down])
            other[:, -down:] = planes[:, -down:]
            planes, other = other, planes
            size += step
        return planes

    def around(self, windows: Plane, reach: int, out: Plane) -> None:
        """At each pixel the window of ``2 * reach`` that begins ``reach`` before it.

        Args:
            windows: (N, n) of all these windows.
            reach: at most the layout's.
            out: (N, H * words); unused bits become anything.
        """
        if loops := native():
            for plane, filled in zip(windows, out, strict=True):
                loops.around(plane, filled, reach, self.top, self.words)
            return
        words, bits = divmod(reach, _WORD)
        start = self.top - reach * self.words - words
        stop = start + self.height * self.words
        if not bits:
            out[:] = windows[:, start:stop]
            return
        np.right_shift(windows[:, start - 1 : stop - 1], np.uint64(_WORD - bits), out=out)
        out |= windows[:, start:stop] << np.uint64(bits)

    def inner(self, depth: int) -> Plane:
        """(H * words,) the pixels that are not within ``depth`` of the picture's edge."""
        row = np.zeros(self.span, dtype=np.bool_)
        row[depth : max(depth, self.width - depth)] = True
        plane = np.zeros((self.height, self.words), dtype=_LITTLE)
        plane[depth : max(depth, self.height - depth)] = np.packbits(row, bitorder="little").view(
            _LITTLE
        )
        return plane.ravel()

    def covered(self, blocks: Plane) -> Plane:
        """(H * words,) pixels that a square of two of one class covers.

        ``blocks`` has a bit where the square of two that begins there holds two classes. Unused
        bits are 0.
        """
        row = np.zeros(self.span, dtype=np.bool_)
        row[: max(0, self.width - 1)] = True
        begins = np.packbits(row, bitorder="little").view(_LITTLE)
        even = (~blocks[self.top :].reshape(self.height, self.words) & begins).ravel()
        even[max(0, len(even) - self.words) :] = 0
        covered = even | even << np.uint64(1)
        covered[1:] |= even[:-1] >> np.uint64(_WORD - 1)
        above = covered[: -self.words].copy()
        covered[self.words :] |= above
        return covered

    def unpack(self, plane: Plane) -> BoolMask:
        """(n, W) flags of (n * words,) bits, whole rows."""
        bits = np.unpackbits(plane.view(np.uint8), bitorder="little").view(np.bool_)
        return bits.reshape(-1, self.span)[:, : self.width]


def _widen(planes: Plane, bits: int, work: tuple[Plane, Plane]) -> None:
    """Add to each bit the one so many bits farther on."""
    words, rest = divmod(bits, _WORD)
    size = planes.shape[1] - words
    if size <= 0:
        return
    if not rest % 8:
        _add_bytes(planes, bits // 8, work[0])
        return
    moved, carried = (one[:, :size] for one in work)
    np.right_shift(planes[:, words:], np.uint64(rest), out=moved)
    np.left_shift(planes[:, words + 1 :], np.uint64(_WORD - rest), out=carried[:, :-1])
    moved[:, :-1] |= carried[:, :-1]
    planes[:, :size] |= moved


def _add_bytes(planes: Plane, count: int, work: Plane) -> None:
    """As :func:`_widen` by whole bytes, which are where the bits of this order say."""
    here, there = (one.view(np.uint8) for one in (planes, work))
    np.bitwise_or(here[:, :-count], here[:, count:], out=there[:, :-count])
    here[:, :-count] = there[:, :-count]


def set_bits(plane: Plane) -> Places:
    """Positions of the bits that are set, ascending."""
    flat = plane.ravel()
    words = np.flatnonzero(flat)
    bytes_ = flat[words].view(np.uint8)
    busy = np.flatnonzero(bytes_ != 0)
    bits = np.flatnonzero(np.unpackbits(bytes_[busy], bitorder="little").view(np.bool_))
    byte = busy[bits >> 3]
    places: Places = (words[byte >> 3] << 6) + ((byte & 7) << 3) + (bits & 7)
    return places


def painted(starts: Places, stops: Places, words: int) -> Plane:
    """(words,) the bits from each start up to before its stop; none are in two of these runs.

    A bit takes the parity of all starts and stops up to it: within words by doubling, then from
    word to word.
    """
    if loops := native():
        plane = np.zeros(words, dtype=_LITTLE)
        loops.paint(np.ascontiguousarray(starts), np.ascontiguousarray(stops), plane)
        return plane
    edges = np.zeros(words * _WORD + 1, dtype=np.bool_)
    edges[starts] = True
    edges[stops] ^= True
    plane = np.packbits(edges[:-1], bitorder="little").view(_LITTLE)
    for step in (1, 2, 4, 8, 16, 32):
        plane ^= plane << np.uint64(step)
    odd = np.bitwise_xor.accumulate(plane >> np.uint64(_WORD - 1))
    plane[1:] ^= np.where(odd[:-1], ~np.uint64(0), np.uint64(0))
    return plane


def count(plane: Plane) -> int:
    """How many bits are set."""
    return int(np.bitwise_count(plane).sum(dtype=np.int64))
