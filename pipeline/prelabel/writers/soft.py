"""Class probabilities as the network gave them: on its grid, with the way back to the pixels.

One npz file per image, readable by ``numpy.load(path, allow_pickle=False)``. For each view n of
the network on the image (one, unless scales, flips or windows were asked for):

    classes_n        (K,) uint16       class indices kept: those above 0 after quantisation
    probabilities_n  (K, h, w) uint8   softmax over all classes, times 255, rounded
    rows_n, cols_n   (4,) float64      scale, offset, low, high of the axis
    size             (2,) int64        height and width of the image

A pixel (y, x) lies on the grid at clip(scale * y + offset, low, high), likewise for x; between
grid points values are interpolated bilinearly. The error of a probability is at most 1/510.
"""

import io
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.prelabel.writers.registry import ImageOutputs
from maskmill.pipeline.views.geometry import AxisMap
from maskmill.schemas.arrays import LogitGrid
from maskmill.schemas.errors import DocumentFailure, ErrorCode, SettingsError

_STEPS = 255


@dataclass(frozen=True, slots=True)
class SoftView:
    """Probabilities of one view. ``probabilities`` is (K, h, w) float32 for ``classes`` (K,)."""

    classes: npt.NDArray[np.uint16]
    probabilities: npt.NDArray[np.float32]
    rows: AxisMap
    cols: AxisMap


def write_soft(outputs: ImageOutputs) -> bytes:
    """The probabilities file of one image; the same outputs give the same bytes.

    Raises:
        SettingsError: the outputs carry no logit grid.
    """
    if not outputs.views:
        raise SettingsError(f"{outputs.key}: probabilities need the network's grid")
    arrays: dict[str, npt.NDArray[np.generic]] = {"size": np.array(outputs.mask.shape, np.int64)}
    for position, view in enumerate(outputs.views):
        classes, levels = _quantised(view.grid)
        arrays[f"classes_{position}"] = classes
        arrays[f"probabilities_{position}"] = levels
        arrays[f"rows_{position}"] = np.array(astuple(view.rows), np.float64)
        arrays[f"cols_{position}"] = np.array(astuple(view.cols), np.float64)
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def read_soft(data: bytes, *, name: str = "soft file") -> tuple[tuple[int, int], list[SoftView]]:
    """((H, W), views) of a file of :func:`write_soft`.

    Raises:
        DocumentFailure: MALFORMED where it is no such file.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            height, width = (int(side) for side in arrays["size"])
            count = sum(key.startswith("classes_") for key in arrays.files)
            views = [_view(arrays, position) for position in range(count)]
    except Exception as error:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{name}: not a file of class probabilities: {error}"
        ) from error
    return (height, width), views


def _quantised(grid: LogitGrid) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """Classes that reach half a step anywhere, and their probabilities in 255 steps."""
    exponentials = np.exp(grid - grid.max(axis=0))
    probabilities = exponentials / exponentials.sum(axis=0)
    levels = np.rint(probabilities * _STEPS).astype(np.uint8)
    kept = np.flatnonzero(levels.any(axis=(1, 2)))
    return kept.astype(np.uint16), levels[kept]


def _view(arrays: "np.lib.npyio.NpzFile", position: int) -> SoftView:
    levels = arrays[f"probabilities_{position}"]
    return SoftView(
        classes=arrays[f"classes_{position}"],
        probabilities=levels.astype(np.float32) / np.float32(_STEPS),
        rows=AxisMap(*map(float, arrays[f"rows_{position}"])),
        cols=AxisMap(*map(float, arrays[f"cols_{position}"])),
    )
