"""How uncertain an image is among others, and how rare its classes are."""

import math
from collections.abc import Sequence

import numpy as np


def standing(values: Sequence[float]) -> list[float]:
    """Where each value stands among all: 0 for the smallest, 1 for the largest, ties alike."""
    ordered = np.sort(np.array(values))
    below = np.searchsorted(ordered, values, side="left")
    places: list[float] = (below / max(1, len(values) - 1)).tolist()
    return places


def rarity(images: int, total: int) -> float:
    """Of a class in ``images`` of ``total``: ln(total / images) / ln total, in [0, 1]."""
    return math.log(total / images) / math.log(total) if total > 1 else 0.0
