"""How sure the prediction is, per pixel: from a grey picture or from a file of probabilities."""

import cv2
import numpy as np

from pipeline.masks.picture import open_picture
from pipeline.writers.soft import SoftView, read_soft
from schemas.arrays import ScoreMap
from schemas.errors import ErrorCode, MaskFailure


def read_confidence(data: bytes, shape: tuple[int, ...], *, name: str) -> ScoreMap:
    """(H, W) top-1 confidence in [0, 1].

    Args:
        data: a grey PNG or TIFF (8 bits: 255 = sure; 16 bits: 65535 = sure), or an npz file of
            class probabilities as ``prelabel --write soft`` writes it, with one view per image.
        shape: (H, W) of the prediction; confidences of another size are refused.
        name: for messages.

    Raises:
        MaskFailure: not a picture, of a wrong mode or size, or probabilities of several views.
        DocumentFailure: an npz file that holds no probabilities.
    """
    if data.startswith(b"PK"):
        size, views = read_soft(data, name=name)
        _refuse_size(size, shape, name)
        return _top_confidence(views, size, name)
    picture = open_picture(data, name=name)
    image = picture.image
    values = np.asarray(image)
    if values.ndim != 2 or image.mode not in ("L", "I;16", "I"):
        raise MaskFailure(
            ErrorCode.WRONG_MODE,
            f"{name}: confidences are grey pictures of 8 or 16 bits, not {image.mode}",
        )
    _refuse_size(values.shape, shape, name)
    top = 255.0 if image.mode == "L" else 65535.0
    scores: ScoreMap = np.clip(values.astype(np.float32) / np.float32(top), 0.0, 1.0)
    return scores


def _refuse_size(size: tuple[int, ...], shape: tuple[int, ...], name: str) -> None:
    if tuple(size) != tuple(shape):
        raise MaskFailure(
            ErrorCode.SIZE_MISMATCH,
            f"{name}: confidences are {size[1]}x{size[0]}, the mask {shape[1]}x{shape[0]}",
        )


def _top_confidence(views: list[SoftView], size: tuple[int, int], name: str) -> ScoreMap:
    if len(views) != 1:
        raise MaskFailure(
            ErrorCode.CANNOT_HOLD,
            f"{name}: holds {len(views)} views; confidences of several scales, flips or windows "
            "have no single grid, so audit a run with one view",
        )
    view = views[0]
    top = view.probabilities.max(axis=0)
    rows = view.rows.positions(0, size[0]).astype(np.float32)
    cols = view.cols.positions(0, size[1]).astype(np.float32)
    map_x, map_y = np.meshgrid(cols, rows)
    resized = cv2.remap(top, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    scores: ScoreMap = np.clip(resized, 0.0, 1.0)
    return scores
