"""Exact upsampling of a logit grid that lies on a GPU, without bringing it to the CPU first."""

import numpy as np
import torch
from torch import Tensor

from maskmill.pipeline.labelling.bilinear import AxisSamples, axis_samples
from maskmill.pipeline.labelling.upsample import ROUNDING
from maskmill.pipeline.views.geometry import AxisMap

_BAND_VALUES = 1 << 25
"""Values interpolated at once, of all classes: 128 MB each for values, neighbours and scratch."""


@torch.inference_mode()
def upsample_argmax_tensor(
    grid: Tensor,
    rows: AxisMap,
    cols: AxisMap,
    size_hw: tuple[int, int],
    *,
    dtype: torch.dtype = torch.uint8,
) -> Tensor:
    """The class of the highest bilinearly interpolated value at every pixel; ties: lowest class.

    In bands of pixel rows: classes that cannot win anywhere in a band are dropped, the others
    interpolated. A GPU is faster at that than at sorting cells by their candidates. The operations
    are those of ``upsample_argmax``, one kernel each, and so are the labels.

    Args:
        grid: (C, h, w) floating point on any device, finite; computed with in float32.
        rows: maps pixel rows of the mask to grid rows.
        cols: the same for columns.
        size_hw: (H, W) of the mask, 1 or more each.
        dtype: an integer type that holds C classes and the ignore value: uint8 to 255 classes.

    Returns:
        (H, W) labels on the grid's device.

    Raises:
        ValueError: a grid that is empty or not finite, a map that leaves the grid, a dtype that
            is too small.
    """
    if grid.ndim != 3 or 0 in grid.shape or min(size_hw) < 1:
        raise ValueError(f"cannot upsample a grid of shape {tuple(grid.shape)} to {size_hw} pixels")
    if len(grid) > torch.iinfo(dtype).max:
        raise ValueError(f"{len(grid)} classes and ignore do not fit in {dtype}")
    grid = grid.float()
    if not bool(torch.isfinite(grid).all()):
        raise ValueError("the logit grid holds NaN or infinity: the network's output is unusable")
    row = axis_samples(rows, size_hw[0], grid.shape[1])
    col = axis_samples(cols, size_hw[1], grid.shape[2])
    grid = grid.repeat(1, 1 if grid.shape[1] > 1 else 2, 1 if grid.shape[2] > 1 else 2)
    labels = torch.empty(size_hw, dtype=dtype, device=grid.device)
    step = max(1, _BAND_VALUES // (len(grid) * size_hw[1]))
    for start in range(0, size_hw[0], step):
        band = AxisSamples(row.lower[start : start + step], row.weight[start : start + step])
        labels[start : start + step] = _band_labels(grid, band, col)
    return labels


def _band_labels(grid: Tensor, row: AxisSamples, col: AxisSamples) -> Tensor:
    """(n, W) int64 labels of n pixel rows."""
    top, bottom = int(row.lower.min()), int(row.lower.max()) + 2
    left, right = int(col.lower.min()), int(col.lower.max()) + 2
    part = grid[:, top:bottom, left:right]
    classes = _possible_classes(part)
    if len(classes) == 1:
        return classes.expand(len(row.lower), len(col.lower))
    values = _interpolated(part[classes], AxisSamples(row.lower - top, row.weight), 1)
    values = _interpolated(values, AxisSamples(col.lower - left, col.weight), 2)
    return classes[values.argmax(0)]


def _possible_classes(part: Tensor) -> Tensor:
    """Ascending indices of the classes that may win in some cell of (C, n, m) grid points."""
    magnitude = part.abs().amax((1, 2), keepdim=True)
    margin = magnitude * ROUNDING + torch.finfo(torch.float32).tiny
    highest = torch.maximum(part[:, :-1], part[:, 1:])
    highest = torch.maximum(highest[:, :, :-1], highest[:, :, 1:]) + margin
    lowest = torch.minimum(part[:, :-1], part[:, 1:])
    lowest = torch.minimum(lowest[:, :, :-1], lowest[:, :, 1:]) - margin
    return torch.nonzero((highest >= lowest.amax(0)).any(2).any(1))[:, 0]


def _interpolated(values: Tensor, samples: AxisSamples, axis: int) -> Tensor:
    """Along one axis of (C, n, m), in place where that can be."""
    lower = torch.from_numpy(samples.lower.astype(np.int64)).to(values.device)
    weight = torch.from_numpy(samples.weight).to(values.device)
    weight = weight if axis == 2 else weight[:, None]
    near = values.index_select(axis, lower).mul_(1 - weight)
    return near.add_(values.index_select(axis, lower + 1).mul_(weight))
