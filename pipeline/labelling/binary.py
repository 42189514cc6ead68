"""Sigmoid heads: one channel, two classes, and the threshold between them."""

import math

import numpy as np

from maskmill.schemas.arrays import LogitGrid


def threshold_logit(threshold: float) -> float:
    """The logit whose sigmoid is ``threshold``.

    Raises:
        ValueError: a threshold that is not between 0 and 1.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"a threshold lies between 0 and 1, not at {threshold}")
    return math.log(threshold) - math.log1p(-threshold)


def two_class_grid(grid: LogitGrid, threshold: float = 0.5) -> LogitGrid:
    """(2, h, w) values whose argmax is 1 where sigmoid(logit) is above ``threshold``, else 0.

    They are 0 and the logit's distance from the threshold: the first stays exactly 0 under any
    interpolation, so comparing the two is comparing the interpolated logit with the threshold.

    Args:
        grid: (1, h, w) float32 logits.
        threshold: a probability, exclusive of 0 and 1.

    Raises:
        ValueError: a grid of more than one channel, or a threshold out of range.
    """
    if grid.ndim != 3 or len(grid) != 1:
        raise ValueError(f"a sigmoid head has logits of shape (1, height, width), not {grid.shape}")
    distance = grid - np.float32(threshold_logit(threshold))
    return np.concatenate([np.zeros_like(distance), distance])
