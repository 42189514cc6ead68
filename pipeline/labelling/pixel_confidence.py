"""The highest probability at every original pixel: the softmax of the logits at its own place."""

import numpy as np

from maskmill.pipeline.labelling.binary import two_class_grid
from maskmill.pipeline.labelling.pruning import Float32Array
from maskmill.pipeline.labelling.upsample import sample_bilinear
from maskmill.pipeline.views.geometry import AxisMap
from maskmill.schemas.arrays import LogitGrid, ScoreMap


def pixel_confidence(
    grid: LogitGrid, rows: AxisMap, cols: AxisMap, size_hw: tuple[int, int]
) -> ScoreMap:
    """(H, W) float32: the largest value of the softmax of the bilinearly sampled logits.

    The plain computation: every class at every pixel, one class after the other, so that it needs
    four planes of H x W whatever the number of classes. ``grid`` is (C, h, w) logits; one channel
    is a sigmoid head of two classes.

    Raises:
        ValueError: an empty grid, or a map that leaves it.
    """
    if len(grid) == 1:
        grid = two_class_grid(grid)
    highest: Float32Array = sample_bilinear(grid[0], rows, cols, size_hw)
    total = np.ones(size_hw, np.float32)  # Σ exp(logit - highest)
    for plane in grid[1:]:
        value = sample_bilinear(plane, rows, cols, size_hw)
        before, highest = highest, np.maximum(highest, value)
        total *= np.exp(before - highest)
        total += np.exp(value - highest)
    return np.reciprocal(total, out=total)
