"""Bits of planes counted in runs of pixels, by what the runs are."""

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.metrics.bit_planes import Places, Plane

_WORD = 64
_ALL = ~np.uint64(0)
_FROM = _ALL << np.arange(_WORD, dtype=np.uint64)  # the n-th bit and those after it
_UP_TO = _ALL >> np.arange(_WORD, dtype=np.uint64)[::-1]  # the n-th bit and those before it


class RunBits:
    """Runs cut where words of a plane begin, and sorted by their codes.

    Args:
        places: (N,) positions of the first pixels, as in a plane.
        lengths: (N,) pixels, at least 1.
        codes: (N,) from 0 on.
        size: more than any code.
    """

    def __init__(
        self, places: Places, lengths: Places, codes: npt.NDArray[np.intp], size: int
    ) -> None:
        last = places + (lengths - 1)
        first_words, last_words = places >> 6, last >> 6
        counts = last_words - first_words + 1
        ends = np.cumsum(counts)
        runs = np.repeat(np.arange(len(places)), counts)
        words = np.arange(len(runs)) + (first_words - ends + counts).take(runs)
        masks = np.full(len(runs), _ALL)
        masks[ends - counts] = _FROM.take(places & (_WORD - 1))
        masks[ends - 1] &= _UP_TO.take(last & (_WORD - 1))
        pieces = codes.take(runs)
        narrow = pieces.astype(np.uint16) if size <= 1 << 16 else pieces  # is sorted at once
        order = np.argsort(narrow, kind="stable")
        self._words, self._masks = words.take(order), masks.take(order)
        found = np.bincount(pieces, minlength=size)
        self._codes = np.flatnonzero(found)
        self._begins = (np.cumsum(found) - found)[self._codes]
        self._size = size

    def count(self, planes: Plane) -> npt.NDArray[np.int64]:
        """(P, size) bits of (P, n) planes, n < 2**25, that lie in the runs of each code."""
        sums = np.zeros((len(planes), self._size), dtype=np.int64)
        if len(self._words):
            pieces = planes.take(self._words, axis=1)
            pieces &= self._masks
            bits = np.bitwise_count(pieces)
            # sums of 32 bits take half the time
            sums[:, self._codes] = np.add.reduceat(bits, self._begins, axis=1, dtype=np.int32)
        return sums
