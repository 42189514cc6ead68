"""How sure a network is: highest probability, entropy and margin on its own output grid."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.arrays import LogitGrid, ScoreMap

LOW_CONFIDENCE = 0.5
"""Grid points whose highest probability is below this count as low in confidence."""


@dataclass(frozen=True, slots=True)
class GridConfidence:
    """Of one image. Means are over grid points; every value is in [0, 1].

    ``top1`` is (h, w) float32, the highest probability at each grid point, and
    ``mean_confidence`` its mean. ``mean_entropy`` is of the whole distribution, divided by ln C;
    ``mean_margin`` is the highest less the second highest probability;
    ``low_confidence_fraction`` the share of points with ``top1`` below 0.5;
    ``class_confidence`` (C,) float64 the mean of ``top1`` over the points where that class is
    the highest, NaN where there is none.
    """

    top1: ScoreMap
    mean_confidence: float
    mean_entropy: float
    mean_margin: float
    low_confidence_fraction: float
    class_confidence: npt.NDArray[np.float64]


def grid_confidence(grid: LogitGrid) -> GridConfidence:
    """The confidence of the softmax of a grid of logits, without its padding.

    Args:
        grid: (C, h, w) float32 logits, finite. One channel is a sigmoid head: it counts as the
            two classes "not" (0) and "is" (1), and C is 2 from there on.

    Raises:
        ValueError: a grid that is empty or not finite.
    """
    if grid.ndim != 3 or 0 in grid.shape:
        raise ValueError(f"a logit grid is (classes, height, width), not {grid.shape}")
    if not (np.isfinite(grid.min()) and np.isfinite(grid.max())):
        raise ValueError("the logit grid holds NaN or infinity: the network's output is unusable")
    logits = _two_classes(grid) if len(grid) == 1 else grid
    logits = logits.reshape(len(logits), -1)
    with np.errstate(over="ignore"):
        shifted = logits - logits.max(axis=0)
    np.maximum(shifted, -1e4, out=shifted)  # e^-1e4 is 0, and 0 · s below stays finite
    powers = np.exp(shifted)
    total = powers.sum(axis=0)
    # -Σ p ln p with p = e^s / Σ e^s; one logarithm per grid point instead of one per class.
    entropy = np.log(total) - np.einsum("cp,cp->p", powers, shifted) / total
    winner, runner_up = _highest_two(powers)
    return _summary(1 / total, entropy, runner_up / total, winner, len(logits), grid.shape[1:])


def probability_confidence(probabilities: LogitGrid) -> GridConfidence:
    """The same for (C, h, w) float32 probabilities that sum to one, C of 2 or more.

    Raises:
        ValueError: values outside [0, 1] or sums that are not one.
    """
    if probabilities.ndim != 3 or 0 in probabilities.shape or len(probabilities) < 2:
        raise ValueError(f"probabilities are (2+, height, width), not {probabilities.shape}")
    flat = probabilities.reshape(len(probabilities), -1)
    total = flat.sum(axis=0)
    if not (flat.min() >= 0 and np.abs(total - 1).max() < 1e-3):
        raise ValueError("these are not probabilities: negative, NaN, or not summing to one")
    entropy = -np.einsum("cp,cp->p", flat, np.log(np.maximum(flat, np.finfo(np.float32).tiny)))
    top1 = flat.max(axis=0)
    winner, runner_up = _highest_two(flat.copy())
    return _summary(top1, entropy, runner_up, winner, len(flat), probabilities.shape[1:])


def _two_classes(logit: LogitGrid) -> LogitGrid:
    """(2, h, w): logits whose softmax is (1 - sigmoid, sigmoid) of the one channel."""
    return np.concatenate([np.zeros_like(logit), logit])


def _highest_two(
    values: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Class of the highest of (C, P) values at each point, and the second highest value.

    ``values`` must not be negative; the highest ones are overwritten.
    """
    points = values.shape[1]
    winner = values.argmax(axis=0)
    values.reshape(-1)[winner * points + np.arange(points)] = 0
    return winner, values.max(axis=0)


def _summary(
    top1: npt.NDArray[np.float32],
    entropy: npt.NDArray[np.float32],
    runner_up: npt.NDArray[np.float32],
    winner: npt.NDArray[np.intp],
    classes: int,
    shape: tuple[int, ...],
) -> GridConfidence:
    """Means over the points, summed in float64; rounding is kept from leaving [0, 1]."""
    points = np.bincount(winner, minlength=classes)
    sums = np.bincount(winner, weights=top1, minlength=classes)
    with np.errstate(invalid="ignore"):
        class_confidence = sums / points
    mean_entropy = float(entropy.mean(dtype=np.float64)) / math.log(classes)
    return GridConfidence(
        top1=top1.reshape(shape).astype(np.float32, copy=False),
        mean_confidence=float(top1.mean(dtype=np.float64)),
        mean_entropy=min(max(mean_entropy, 0.0), 1.0),
        mean_margin=float((top1 - runner_up).mean(dtype=np.float64)),
        low_confidence_fraction=float((top1 < LOW_CONFIDENCE).mean()),
        class_confidence=class_confidence,
    )
