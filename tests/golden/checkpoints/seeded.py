"""Weights and pictures by rule, so that nothing but names, shapes and answers need be kept.

A tensor's values depend on its name and shape alone: a fixed row of normal numbers, begun at a
place that the name decides, scaled so that signal reaches the end of a deep network. Only sums,
products, quotients and roots make them: those every processor rounds alike.
"""

import math
import zlib

import numpy as np
import torch
from PIL import Image

_ROW = np.random.RandomState(8).standard_normal(65_537).astype(np.float32)  # a prime length


def seeded_tensor(name, shape, dtype="float32"):
    """The values of one tensor of a state dict."""
    count = int(np.prod(shape)) if shape else 1
    if dtype != "float32":
        return torch.full(tuple(shape), 7, dtype=getattr(torch, dtype))
    row = np.resize(np.roll(_ROW, -(zlib.crc32(name.encode()) % len(_ROW))), count)
    values = torch.from_numpy(row.reshape(shape).copy())
    if name.endswith("running_var"):
        return 1 + 0.5 * _bounded(values)
    if name.endswith("running_mean"):
        return 0.2 * values
    if len(shape) == 4:
        return values * math.sqrt(2 / math.prod(shape[1:]))
    if name.endswith("weight"):
        return 1 + 0.3 * _bounded(values)
    return 0.1 * values


def _bounded(values):
    """Into (-1, 1)."""
    return values / (1 + values.abs())


def seeded_state(entries):
    """A state dict of (name, shape, dtype) entries."""
    return {name: seeded_tensor(name, shape, dtype) for name, shape, dtype in entries}


def seeded_picture(height, width):
    """(1, 3, height, width) float32, about normal: what a normalised picture looks like."""
    values = np.resize(np.roll(_ROW, -11), 3 * height * width)
    return torch.from_numpy(values.reshape(1, 3, height, width).copy())


def seeded_photograph(height, width):
    """(height, width, 3) uint8, smooth as photographs are, in Pillow's whole-number arithmetic."""
    coarse = np.resize(np.roll(_ROW, -23), 9 * 12 * 3).reshape(9, 12, 3)
    coarse = (128 + 60 * coarse).clip(0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))


def sampled_points(height, width):
    """Rows and columns at which answers are kept, borders among them."""
    return np.linspace(0, height - 1, 6).round().astype(int), np.linspace(
        0, width - 1, 13
    ).round().astype(int)
