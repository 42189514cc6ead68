"""Flags of a picture as bits, 64 to a word: widened and counted at a fraction of what bytes cost.

A plane is flat: the rows lie one after the other, each followed by as many unused bits as anything
is moved sideways, so that moving the whole plane moves every pixel and what leaves a row meets
nothing of the next. Above the first row lie as many empty rows.

Whether a square around a pixel holds anything is asked of a window that begins above and left of
it. A window of n at a place and one s <= n bits farther on are together one of n + s, so windows
of all sizes need a few steps, each of them one way only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.schemas.arrays import BoolMask

Plane = npt.NDArray[np.uint64]
"""(rows * words,) bits in the order of the pixels, lowest first."""

Places = npt.NDArray[np.intp]
"""(N,) positions y * span + x."""

_WORD = 64
_LITTLE = np.dtype("<u8")  # the order in which packbits fills bytes, on any machine
_BELOW = (np.uint64(1) << np.arange(_WORD, dtype=np.uint64)) - np.uint64(1)  # bits before the n-th


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

    def windows(self, plane: Plane, sizes: tuple[int, ...]) -> Iterator[Plane]:
        """Set where the square of so many pixels whose first corner lies there holds a bit.

        For ascending sizes, each from the one before; a plane holds until the next is asked for,
        and ``plane`` itself is used up.
        """
        size, other, work = 1, np.empty_like(plane), (np.empty_like(plane), np.empty_like(plane))
        for wanted in sizes:
            while size < wanted:
                step = min(size, wanted - size)
                _widen(plane, step, work)
                down = min(step * self.words, len(plane))
                np.bitwise_or(plane[: len(plane) - down], plane[down:], out=other[:-down])
                other[-down:] = plane[-down:]
                plane, other = other, plane
                size += step
            yield plane

    def around(self, windows: Plane, reach: int) -> Plane:
        """(H * words,) at each pixel the window of ``2 * reach`` that begins ``reach`` before it.

        Unused bits may be anything.
        """
        words, bits = divmod(reach, _WORD)
        start, size = self.top - reach * self.words - words, self.height * self.words
        if not bits:
            return windows[start : start + size].copy()
        moved = windows[start - 1 : start - 1 + size] >> np.uint64(_WORD - bits)
        moved |= windows[start : start + size] << np.uint64(bits)
        return moved

    def inner(self, depth: int) -> Plane:
        """(H * words,) the pixels that are not within ``depth`` of the picture's edge."""
        row = np.zeros(self.span, dtype=np.bool_)
        row[depth : max(depth, self.width - depth)] = True
        plane = np.zeros((self.height, self.words), dtype=_LITTLE)
        plane[depth : max(depth, self.height - depth)] = np.packbits(row, bitorder="little").view(
            _LITTLE
        )
        return plane.ravel()

    def even(self, blocks: Plane) -> tuple[Plane, Plane]:
        """(H * words,) pixels that a square of two of one class covers, and those that four do.

        ``blocks`` has a bit where the square of two that begins there holds two classes. Four are
        a square of three with the pixel in its middle. Unused bits are 0.
        """
        row = np.zeros(self.span, dtype=np.bool_)
        row[: max(0, self.width - 1)] = True
        begins = np.packbits(row, bitorder="little").view(_LITTLE)
        even = (~blocks[self.top :].reshape(self.height, self.words) & begins).ravel()
        even[max(0, len(even) - self.words) :] = 0
        right = even << np.uint64(1)
        right[1:] |= even[:-1] >> np.uint64(_WORD - 1)
        some, all_ = even | right, even & right
        covered = some.copy()
        covered[self.words :] |= some[: -self.words]
        centres = np.zeros_like(all_)
        np.bitwise_and(all_[self.words :], all_[: -self.words], out=centres[self.words :])
        return covered, centres

    def beside(self, plane: Plane) -> Plane:
        """(H * words,) set where one of eight neighbours, or the pixel, is; unused bits are 0."""
        spread = plane | plane << np.uint64(1)
        spread[1:] |= plane[:-1] >> np.uint64(_WORD - 1)
        spread |= plane >> np.uint64(1)
        spread[:-1] |= plane[1:] << np.uint64(_WORD - 1)
        grown = spread.copy()
        grown[self.words :] |= spread[: -self.words]
        grown[: -self.words] |= spread[self.words :]
        return grown

    def unpack(self, plane: Plane) -> BoolMask:
        """(H, W) flags of (H * words,) bits."""
        bits = np.unpackbits(plane.view(np.uint8), bitorder="little").view(np.bool_)
        return bits.reshape(self.height, -1)[:, : self.width]

    def pixels(self, plane: Plane) -> npt.NDArray[np.intp]:
        """Flat positions y * W + x of the bits of (H * words,); quick where these are few."""
        y, x = np.divmod(set_bits(plane), self.span)
        inside = x < self.width
        pixels: npt.NDArray[np.intp] = (y * self.width + x)[inside]
        return pixels


def _widen(plane: Plane, bits: int, work: tuple[Plane, Plane]) -> None:
    """Add to each bit the one so many bits farther on."""
    words, rest = divmod(bits, _WORD)
    size = len(plane) - words
    if size <= 0:
        return
    here, next_word = (one[:size] for one in work)
    if not rest:
        here[:] = plane[words:]
    else:
        np.right_shift(plane[words:], np.uint64(rest), out=here)
        np.left_shift(plane[words + 1 :], np.uint64(_WORD - rest), out=next_word[:-1])
        here[:-1] |= next_word[:-1]
    plane[:size] |= here


class BitCounter:
    """Counts bits of several planes in runs, at one stroke: one number holds several counts.

    Planes are (H * words,), of one size; unused bits are counted where a run holds them.
    """

    def __init__(self, layout: PlaneLayout, places: Places) -> None:
        self._words = places >> 6
        self._below = _BELOW.take(places & (_WORD - 1))
        self._radix = layout.height * layout.width + 1  # no class has more pixels
        self.most = max(1, int(53 / np.log2(self._radix)))  # planes to a number: float64 is exact

    def runs(self, planes: Sequence[Plane]) -> npt.NDArray[np.int64]:
        """(N - 1,) bits from each place to the next, of the first plane in the lowest digit.

        No more planes than ``most``; a sum must not be of more pixels than the picture has.
        """
        sums = np.zeros(len(planes[0]) + 1, dtype=np.int64)
        bits, before = sums[1:], np.zeros(len(self._words), dtype=np.int64)
        for number, plane in enumerate(reversed(planes)):
            if number:
                bits *= self._radix
                before *= self._radix
            bits += np.bitwise_count(plane)
            part = plane.take(self._words)
            part &= self._below
            before += np.bitwise_count(part)
        np.cumsum(bits, out=bits)
        before += sums.take(self._words)
        found: npt.NDArray[np.int64] = before[1:] - before[:-1]
        return found

    def digits(self, sums: npt.NDArray[np.number], size: int) -> list[npt.NDArray[np.int64]]:
        """Sums of what :meth:`runs` gave of so many planes, plane by plane."""
        rest, found = sums.astype(np.int64), []
        for _ in range(size):
            rest, digit = np.divmod(rest, self._radix)
            found.append(digit)
        return found


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


def painted(edges: BoolMask) -> npt.NDArray[np.uint8]:
    """(N,) flags -> (N,) 1 from every odd flag up to before the next one, 0 elsewhere.

    A bit takes the parity of all up to it: within words by doubling, then from word to word.
    """
    packed = np.zeros(-(-edges.size // _WORD) * (_WORD // 8), dtype=np.uint8)
    packed[: -(-edges.size // 8)] = np.packbits(edges, bitorder="little")
    words = packed.view(_LITTLE)
    for step in (1, 2, 4, 8, 16, 32):
        words ^= words << np.uint64(step)
    odd = np.bitwise_xor.accumulate(words >> np.uint64(_WORD - 1))
    words[1:] ^= np.where(odd[:-1], ~np.uint64(0), np.uint64(0))
    return np.unpackbits(words.view(np.uint8), count=edges.size, bitorder="little")


def count(plane: Plane) -> int:
    """How many bits are set."""
    return int(np.bitwise_count(plane).sum(dtype=np.int64))
