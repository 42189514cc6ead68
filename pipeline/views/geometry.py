"""Where each original pixel lies on the network's input and on its logit grid.

There is one resize: an original pixel samples the logit grid bilinearly at its own position.
Every step between (scaling, padding, flipping, cropping a window, the grid's own stride) is an
affine map per axis with a clamp, and so is their composition.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.schemas.arrays import LogitGrid


@dataclass(frozen=True, slots=True)
class AxisMap:
    """position(x) = clamp(scale * x + offset, low, high) for the pixel index x of one axis.

    ``scale`` may be negative (a flipped view), never zero. Positions are in grid points, float64.
    """

    scale: float
    offset: float
    low: float
    high: float

    def positions(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        """(stop - start,) positions of the pixels start, …, stop - 1."""
        pixels = np.arange(start, stop, dtype=np.float64)
        return np.clip(self.scale * pixels + self.offset, self.low, self.high)

    def then(self, scale: float, offset: float, low: float, high: float) -> "AxisMap":
        """This map followed by clamp(scale * u + offset, low, high)."""
        ends = sorted((scale * self.low + offset, scale * self.high + offset))
        return AxisMap(
            self.scale * scale,
            self.offset * scale + offset,
            min(max(ends[0], low), high),
            max(min(ends[1], high), low),
        )

    def shifted(self, start: int) -> "AxisMap":
        """The map for an axis that begins at pixel ``start`` of this one (a window)."""
        return AxisMap(self.scale, self.scale * start + self.offset, self.low, self.high)


def resized(original: int, size: int) -> AxisMap:
    """Pixel x of ``original`` on the same picture resized to ``size`` (half-pixel centres)."""
    scale = size / original
    return AxisMap(scale, 0.5 * scale - 0.5, 0.0, float(size - 1))


def flipped(axis: AxisMap, size: int) -> AxisMap:
    """The same axis read from the other end of a network input of ``size`` pixels."""
    return axis.then(-1.0, float(size - 1), 0.0, float(size - 1))


def onto_grid(axis: AxisMap, network_size: int, grid_size: int, alignment: str) -> AxisMap:
    """From network input pixels to grid points, by the rule of the network's own upsampling.

    ``align_corners``: u (g - 1) / (n - 1). ``half_pixel``: (u + ½) g / n - ½.
    ``legacy``: u g / n (TF1 resize without either option).

    Raises:
        ValueError: an alignment of another name.
    """
    last = float(grid_size - 1)
    if alignment == "align_corners":
        return axis.then(last / (network_size - 1), 0.0, 0.0, last)
    ratio = grid_size / network_size
    if alignment == "half_pixel":
        return axis.then(ratio, 0.5 * ratio - 0.5, 0.0, last)
    if alignment == "legacy":
        return axis.then(ratio, 0.0, 0.0, last)
    raise ValueError(f"unknown grid alignment {alignment!r}")


@dataclass(frozen=True, slots=True)
class GridView:
    """The network's answer to one picture, and where the original's pixels lie on it.

    ``grid`` is (C, h, w) float32 logits, cropped to the part inside the picture.
    """

    grid: LogitGrid
    rows: AxisMap
    cols: AxisMap
