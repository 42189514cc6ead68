"""Where a mask changes: found eight bytes at a time, because nearly all of it does not."""

from typing import Any

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]

_WORD = 8  # bytes
_MANY = 64  # pixels for one word with a change, below which pixels are compared one by one


def changes(flat: npt.NDArray[Any], distance: int) -> Places:
    """The places p, ascending, where ``flat[p]`` and ``flat[p + distance]`` differ.

    ``flat`` is (N,), contiguous, of a whole number of bytes that divides 8; ``distance`` is 1 or
    more. A distance of one row compares pixels with those below them.
    """
    per_word = _WORD // flat.itemsize
    first, second = flat[:-distance], flat[distance:]
    whole = len(first) // per_word * per_word
    words = np.flatnonzero(first[:whole].view(np.uint64) != second[:whole].view(np.uint64))
    if len(words) * _MANY > len(first):
        return np.flatnonzero(first != second)
    near = (words[:, None] * per_word + np.arange(per_word)).reshape(-1)
    near = np.concatenate([near, np.arange(whole, len(first))])
    found: Places = near[first[near] != second[near]]
    return found
