"""How sure the prediction is, per pixel: from a grey picture or from a file of probabilities."""

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.masks.picture import open_picture
from maskmill.pipeline.prelabel.writers.soft import SoftView, read_soft
from maskmill.schemas.arrays import ConfidenceMap
from maskmill.schemas.errors import ErrorCode, MaskFailure


def read_confidence(data: bytes, shape: tuple[int, ...], *, name: str) -> ConfidenceMap:
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
    scores: ConfidenceMap = np.clip(values.astype(np.float64) / top, 0.0, 1.0)
    return scores


def _refuse_size(size: tuple[int, ...], shape: tuple[int, ...], name: str) -> None:
    if tuple(size) != tuple(shape):
        raise MaskFailure(
            ErrorCode.SIZE_MISMATCH,
            f"{name}: confidences are {size[1]}x{size[0]}, the mask {shape[1]}x{shape[0]}",
        )


def _top_confidence(views: list[SoftView], size: tuple[int, int], name: str) -> ConfidenceMap:
    if len(views) != 1:
        raise MaskFailure(
            ErrorCode.CANNOT_HOLD,
            f"{name}: holds {len(views)} views; confidences of several scales, flips or windows "
            "have no single grid, so audit a run with one view",
        )
    view = views[0]
    top = view.probabilities.max(axis=0).astype(np.float64)
    rows, cols = view.rows.positions(0, size[0]), view.cols.positions(0, size[1])
    scores: ConfidenceMap = np.clip(_interpolated(_interpolated(top, rows).T, cols).T, 0.0, 1.0)
    return scores


def _interpolated(grid: ConfidenceMap, places: npt.NDArray[np.float64]) -> ConfidenceMap:
    """The rows of ``grid`` (h, w) at fractional ``places`` (H,): (H, w), linear between rows."""
    low = np.clip(np.floor(places).astype(np.intp), 0, len(grid) - 1)
    high = np.minimum(low + 1, len(grid) - 1)
    share = (places - low)[:, None]
    between: ConfidenceMap = grid[low] * (1 - share) + grid[high] * share
    return between
