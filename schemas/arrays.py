"""Names for the arrays that travel through the house, with their shapes and value ranges."""

from typing import Final

import numpy as np
import numpy.typing as npt

RgbImage = npt.NDArray[np.uint8]
"""(H, W, 3) uint8, RGB, EXIF orientation already applied."""

LabelMask = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""(H, W), value = class index. uint8, 255 = ignore; uint16, 65535 = ignore beyond 255 classes."""

BoolMask = npt.NDArray[np.bool_]
"""(H, W) bool, True inside."""

LogitGrid = npt.NDArray[np.float32]
"""(C, h, w) float32: one value per class at each point of the network's output grid."""

ScoreMap = npt.NDArray[np.float32]
"""(H, W) float32 in [0, 1]."""

ConfidenceMap = npt.NDArray[np.float64]
"""(H, W) float64 in [0, 1], as an audit reads it: float32 puts k / 255 on a wrong side of 0.2."""

ConfusionCounts = npt.NDArray[np.int64]
"""(C + 1, C + 1) int64: rows truth, columns prediction, the last of each is ignore."""

FeatureVector = npt.NDArray[np.float16]
"""(D,) float16, length 1: a picture as a network sees it, by the channels before its classifier."""

IGNORE_INDEX: Final = 255
IGNORE_INDEX_16: Final = 65535


def ignore_index_of(num_classes: int) -> int:
    """The ignore value of a mask that must hold ``num_classes`` class indices: 255 or 65535."""
    return IGNORE_INDEX if num_classes <= IGNORE_INDEX else IGNORE_INDEX_16


def mask_dtype_of(num_classes: int) -> type[np.uint8] | type[np.uint16]:
    """The smallest dtype that holds ``num_classes`` indices and the ignore value."""
    return np.uint8 if num_classes <= IGNORE_INDEX else np.uint16
