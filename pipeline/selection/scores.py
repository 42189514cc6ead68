"""How uncertain an image is among others, and how rare its classes are."""

import math

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]


def standing(values: Scores) -> Scores:
    """Where each value stands among all: 0 for the smallest, 1 for the largest, ties alike."""
    below = np.searchsorted(np.sort(values), values, side="left")
    return below / max(1, len(values) - 1)


def rarities(images: npt.NDArray[np.int64], total: int) -> Scores:
    """Of classes in so many ``images`` of ``total``: ln(total / images) / ln total, in [0, 1]."""
    if total < 2:
        return np.zeros(len(images))
    return np.asarray(np.log(total / images) / math.log(total))
