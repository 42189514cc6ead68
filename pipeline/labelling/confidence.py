"""How sure a network is: highest probability, entropy and margin on its own output grid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.schemas.arrays import LogitGrid, ScoreMap

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


@dataclass(frozen=True, slots=True)
class PointConfidence:
    """Each (P,), of P points: highest probability, entropy in nats, second highest, which class."""

    top1: npt.NDArray[np.float32]
    entropy: npt.NDArray[np.float32]
    runner_up: npt.NDArray[np.float32]
    winner: npt.NDArray[np.intp]


def grid_confidence(grid: LogitGrid) -> GridConfidence:
    """The confidence of the softmax of a grid of logits, without its padding.

    Args:
        grid: (C, h, w) float32 logits, finite. One channel is a sigmoid head: it counts as the
            two classes "not" (0) and "is" (1), and C is 2 from there on.

    Raises:
        ValueError: a grid that is empty or not finite.
    """
    logits = _checked_logits(grid).reshape(max(2, len(grid)), -1)
    shifted, powers, total = _powers(logits)
    # -Σ p ln p with p = e^s / Σ e^s; one logarithm per grid point instead of one per class.
    entropy = np.log(total) - np.einsum("cp,cp->p", powers, shifted) / total
    winner, runner_up = _highest_two(powers)
    points = PointConfidence(np.reciprocal(total), entropy, runner_up / total, winner)
    return summarise([points], len(logits), (grid.shape[1], grid.shape[2]))


def grid_probabilities(grid: LogitGrid) -> LogitGrid:
    """The softmax over the classes of (C, h, w) logits; (2, h, w) for a sigmoid head.

    Raises:
        ValueError: a grid that is empty or not finite.
    """
    _, powers, total = _powers(_checked_logits(grid))
    powers /= total
    return powers


def point_confidence(probabilities: npt.NDArray[np.float32]) -> PointConfidence:
    """The confidence at each point of (C, …) probabilities that sum to one, C of 2 or more.

    Raises:
        ValueError: values outside [0, 1] or sums that are not one.
    """
    flat = probabilities.reshape(len(probabilities), -1)
    if len(flat) < 2 or not (flat.min() >= 0 and np.abs(flat.sum(axis=0) - 1).max() < 1e-3):
        raise ValueError("these are not probabilities: negative, NaN, or not summing to one")
    entropy = -np.einsum("cp,cp->p", flat, np.log(np.maximum(flat, np.finfo(np.float32).tiny)))
    winner, runner_up = _highest_two(flat.copy())
    return PointConfidence(flat.max(axis=0), entropy, runner_up, winner)


def summarise(
    parts: Sequence[PointConfidence], classes: int, shape_hw: tuple[int, int]
) -> GridConfidence:
    """The means over all parts, which together are the points of ``shape_hw`` in row order."""
    top1 = np.concatenate([part.top1 for part in parts])
    winner = np.concatenate([part.winner for part in parts])
    margin = top1 - np.concatenate([part.runner_up for part in parts])
    entropy = np.concatenate([part.entropy for part in parts])
    points = np.bincount(winner, minlength=classes)
    with np.errstate(invalid="ignore"):
        class_confidence = np.bincount(winner, weights=top1, minlength=classes) / points
    mean_entropy = float(entropy.mean(dtype=np.float64)) / math.log(classes)
    return GridConfidence(
        top1=top1.reshape(shape_hw).astype(np.float32, copy=False),
        mean_confidence=float(top1.mean(dtype=np.float64)),
        mean_entropy=min(max(mean_entropy, 0.0), 1.0),  # rounding may leave [0, 1]
        mean_margin=float(margin.mean(dtype=np.float64)),
        low_confidence_fraction=float((top1 < LOW_CONFIDENCE).mean()),
        class_confidence=class_confidence,
    )


def _checked_logits(grid: LogitGrid) -> LogitGrid:
    """The logits, those of a sigmoid head as two classes, or a ValueError."""
    if grid.ndim != 3 or 0 in grid.shape:
        raise ValueError(f"a logit grid is (classes, height, width), not {grid.shape}")
    if not (np.isfinite(grid.min()) and np.isfinite(grid.max())):
        raise ValueError("the logit grid holds NaN or infinity: the network's output is unusable")
    # The softmax of (0, z) is (1 - sigmoid(z), sigmoid(z)).
    return np.concatenate([np.zeros_like(grid), grid]) if len(grid) == 1 else grid


def _powers(
    logits: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Logits less the highest (s), their exponentials e^s, and the sums of these over classes."""
    with np.errstate(over="ignore"):
        shifted = logits - logits.max(axis=0)
    np.maximum(shifted, -1e4, out=shifted)  # e^-1e4 is 0, and 0 · s stays finite
    powers = np.exp(shifted)
    return shifted, powers, powers.sum(axis=0)


def _highest_two(
    values: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Class of the highest of (C, P) values at each point, and the second highest value.

    ``values`` must not be negative; the highest ones are overwritten.
    """
    winner = values.argmax(axis=0)
    # By both indices: a network's logits come channels last, and reshaping those makes a copy.
    values[winner, np.arange(values.shape[1])] = 0
    return winner, values.max(axis=0)
