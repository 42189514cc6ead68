"""Views made for tests, and what their average is, computed the plain way."""

import numpy as np
import torch
import torch.nn.functional as functional

from maskmill.pipeline.labelling.averages import View
from maskmill.pipeline.labelling.confidence import grid_probabilities
from maskmill.pipeline.labelling.upsample import sample_bilinear
from maskmill.pipeline.views.geometry import flipped, onto_grid, resized


def probabilities(seed, classes, height, width, detail=4, amplitude=5.0):
    """Probabilities that vary slowly over the grid."""
    coarse = np.random.default_rng(seed).normal(size=(1, classes, detail, detail))
    fine = functional.interpolate(
        torch.tensor(coarse), size=(height, width), mode="bicubic", align_corners=True
    )
    return grid_probabilities((fine[0].numpy() * amplitude).astype(np.float32))


def view_of(seed, classes, size_hw, network_hw, points_hw, *, flip=False, **more):
    """A picture resized to the network's size, its grid align-corners, mirrored when asked."""
    rows = onto_grid(
        resized(size_hw[0], network_hw[0]), network_hw[0], points_hw[0], "align_corners"
    )
    cols = resized(size_hw[1], network_hw[1])
    if flip:
        cols = flipped(cols, network_hw[1])
    cols = onto_grid(cols, network_hw[1], points_hw[1], "align_corners")
    return View(probabilities(seed, classes, *points_hw), rows, cols, **more)


def average_by_upsampling(views, size_hw):
    """(C, H, W) float64 average: every class of every view sampled at every pixel."""
    total, weights = 0.0, np.zeros(size_hw)
    for view in views:
        window = view.window
        part = (slice(None), slice(None)) if window is None else window.slices
        shape = size_hw if window is None else (window.height, window.width)
        count = np.full(shape, view.weight)
        if window is not None:
            count = count * np.outer(window.row_weights, window.col_weights)
        planes = np.stack(
            [sample_bilinear(plane, view.rows, view.cols, shape) for plane in view.probabilities]
        )
        placed = np.zeros((len(planes), *size_hw))
        placed[(slice(None), *part)] = planes * count
        total = total + placed
        weights[part] += count
    return total / weights


def assert_highest(mask, values, slack=2e-6):
    """The mask names a class of the highest value at every pixel, but for rounding."""
    won = np.take_along_axis(values, mask[None].astype(np.intp), axis=0)[0]
    assert (values.max(axis=0) - won).max() <= slack
