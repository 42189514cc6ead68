"""Weights and pictures by rule, so that goldens need not store them; numpy only.

Both the script that asks TensorFlow and the tests that ask us fill networks by these functions.
"""

import math
import zlib

import numpy as np

_PERIOD = 8191  # a prime: no layer's channels fall in step with it


def variable(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 values of a variable of TF DeepLab, decided by its name and shape."""
    draw = np.random.RandomState(zlib.crc32(name.encode()))  # its stream never changes
    last = name.rpartition("/")[2]
    if last == "moving_variance":
        values = draw.uniform(0.5, 1.5, _PERIOD)
    elif last == "gamma":
        values = draw.uniform(0.8, 1.2, _PERIOD)
        if "separable_conv3_pointwise/" in name or "/conv3/" in name:
            values *= 0.3  # the ends of residuals, lest their sums grow without bound
    elif last in ("weights", "depthwise_weights"):
        taps = shape[0] * shape[1] * (1 if last == "depthwise_weights" else shape[2])
        gain = 1 if "separable_conv" in name else 2  # no ReLU stands between those
        values = draw.standard_normal(_PERIOD) * math.sqrt(gain / taps)
        values /= 64 if shape[0] == 7 else 1  # the 7x7 root sees pixels of 0 … 255, not of -1 … 1
    else:  # beta, moving_mean, biases; what optimizers keep
        values = draw.standard_normal(_PERIOD) * 0.1
    return np.resize(values.astype(np.float32), shape)


def picture(height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8 with colours that run and edges that do not."""
    rows, cols = np.mgrid[:height, :width]
    waves = [rows * 3 + cols, rows * 5 - cols * 2, (rows // 9) * 40 + (cols // 7) * 55]
    noise = np.random.RandomState(height * 10007 + width).randint(0, 32, (height, width, 3))
    return ((np.stack(waves, axis=-1) % 224) + noise).astype(np.uint8)
