"""Finding 64-bit hashes that differ in few bits, among very many.

Multi-index hashing of M. Norouzi, A. Punjani and D. J. Fleet, "Fast Search in Hamming Space with
Multi-Index Hashing" (CVPR 2012): cut into m parts, hashes within t bits differ in one of the parts
by t // m bits at most. So each part is a table of buckets in which its value, and every value so
few bits away, is looked up; only what is found there is compared whole.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
Pairs = tuple[Places, Places, npt.NDArray[np.uint8]]

_BITS = 64
_WIDEST: Final = 18
"""Bits of a part at most: its table of buckets is to stay in the cache."""

_PAIRS_AT_ONCE: Final = 1 << 20
_FEW: Final = 4096
"""So many hashes are compared with all; an index would take longer."""


def distances(first: Hashes | np.uint64, second: Hashes | np.uint64) -> npt.NDArray[np.uint8]:
    """Bits in which hashes differ, by NumPy's rules of broadcasting."""
    bits: npt.NDArray[np.uint8] = np.bitwise_count(np.bitwise_xor(first, second))
    return bits


class KeptHashes:
    """The hashes of the images kept so far. Those of the newest chunk lie beside the index."""

    def __init__(self, threshold: int) -> None:
        self.threshold = threshold
        self.fresh: dict[int, np.uint64] = {}
        self._hashes, self._places = np.empty(0, np.uint64), np.empty(0, np.int64)
        self._indexed = 0  # so many of the first are in the parts
        self._parts: list[Part] = []

    def add(self, place: int, value: np.uint64) -> None:
        """One more, not found by :meth:`near` before :meth:`settle`."""
        self.fresh[place] = value

    def settle(self) -> None:
        """Take in what was added; the index is made anew once many lie beside it."""
        self._hashes = np.concatenate([self._hashes, np.array([*self.fresh.values()], np.uint64)])
        self._places = np.concatenate([self._places, np.array([*self.fresh], np.int64)])
        self.fresh = {}
        if len(self._hashes) - self._indexed > max(_FEW, 24 * math.isqrt(self._indexed)):
            self._indexed = len(self._hashes)
            self._parts = index_parts(self._hashes, self.threshold)

    def near(self, hashes: Hashes) -> Pairs:
        """(rows of ``hashes``, places of kept images, bits) of every pair within the threshold.

        A pair may come more than once.
        """
        found = [*self._in_index(hashes), *self._beside_index(hashes)]
        if not found:
            nothing = np.empty(0, np.int64)
            return nothing, nothing, np.empty(0, np.uint8)
        rows, kept, bits = (np.concatenate(part) for part in zip(*found, strict=True))
        return rows, self._places[kept], bits

    def _in_index(self, hashes: Hashes) -> Iterator[Pairs]:
        for part in self._parts:
            step = max(1, _PAIRS_AT_ONCE // len(part.masks))
            for first in range(0, len(hashes), step):
                for rows, kept in part.found(hashes[first : first + step]):
                    yield self._close(hashes, rows + first, kept)

    def _beside_index(self, hashes: Hashes) -> Iterator[Pairs]:
        step = max(1, _PAIRS_AT_ONCE // max(1, len(hashes)))
        for first in range(self._indexed, len(self._hashes), step):
            there = self._hashes[first : first + step]
            bits = distances(hashes[:, None], there[None, :])
            rows, kept = np.nonzero(bits <= self.threshold)
            yield rows, kept + first, bits[rows, kept]

    def _close(self, hashes: Hashes, rows: Places, kept: Places) -> Pairs:
        bits = distances(hashes[rows], self._hashes[kept])
        close = bits <= self.threshold
        return rows[close], kept[close], bits[close]


@dataclass(frozen=True, slots=True)
class Part:
    """One cut of all hashes: ``order`` lists them by its value, ``bounds`` where each begins."""

    low: int
    bounds: Places  # (2 ** width + 1,)
    order: Places
    masks: Hashes  # what to flip to reach every value that is near enough

    def found(self, hashes: Hashes) -> Iterator[tuple[Places, Places]]:
        """(row, indexed hash) of all that share a bucket that is near enough."""
        width = len(self.bounds).bit_length() - 1
        wanted = (_part(hashes, self.low, width)[:, None] ^ self.masks).ravel().astype(np.int64)
        starts, counts = self.bounds[wanted], self.bounds[wanted + 1] - self.bounds[wanted]
        filled = np.flatnonzero(counts)
        for entries, slots in _ranges(starts[filled], counts[filled]):
            yield filled[entries] // len(self.masks), self.order[slots]


def index_parts(hashes: Hashes, threshold: int) -> list[Part]:
    """The parts that find everything within ``threshold`` bits with the least work."""
    fewest = math.ceil(_BITS / _WIDEST)
    most = max(fewest, threshold + 1)
    number = min(range(fewest, most + 1), key=lambda m: _work(m, threshold, len(hashes)))
    edges = np.linspace(0, _BITS, number + 1).astype(int).tolist()
    return [
        _indexed_part(hashes, low, high - low, threshold // number) for low, high in pairwise(edges)
    ]


def _work(number: int, threshold: int, hashes: int) -> float:
    """Buckets looked up and hashes compared for one query; a look-up costs about half as much."""
    width, radius = _BITS / number, threshold // number
    buckets = number * sum(math.comb(math.ceil(width), flips) for flips in range(radius + 1))
    return float(buckets * (0.5 + hashes / 2**width))


def _indexed_part(hashes: Hashes, low: int, width: int, radius: int) -> Part:
    values = _part(hashes, low, width).astype(np.int64)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(values, minlength=1 << width))])
    flips = [
        sum(1 << bit for bit in bits)
        for count in range(radius + 1)
        for bits in combinations(range(width), count)
    ]
    return Part(low, bounds, np.argsort(values, kind="stable"), np.array(flips, np.uint64))


def _part(hashes: Hashes, low: int, width: int) -> Hashes:
    part: Hashes = (hashes >> np.uint64(low)) & np.uint64((1 << width) - 1)
    return part


def _ranges(starts: Places, counts: Places) -> Iterator[tuple[Places, Places]]:
    """(row, slot) for every slot from start on, a few million at a time."""
    ends = np.cumsum(counts)
    first = 0
    while first < len(counts):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + _PAIRS_AT_ONCE, side="right")))
        here = counts[first:last]
        rows = np.repeat(np.arange(first, last), here)
        inside = np.arange(len(rows)) - np.repeat(np.cumsum(here) - here, here)
        if len(rows):
            yield rows, starts[rows] + inside
        first = last
