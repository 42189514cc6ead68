"""Windows that cover a large picture with overlap, and the weights that blend them seamlessly."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WeightArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A rectangle of original pixels and how much it counts in each of them.

    Pixel (y, x) of the window counts ``row_weights[y] * col_weights[x]``; over all windows of a
    plan these sum to one at every pixel of the picture. Weights are float32, above 0.
    """

    top: int
    left: int
    row_weights: WeightArray
    col_weights: WeightArray

    @property
    def height(self) -> int:
        """Pixel rows."""
        return len(self.row_weights)

    @property
    def width(self) -> int:
        """Pixel columns."""
        return len(self.col_weights)

    @property
    def slices(self) -> tuple[slice, slice]:
        """The window's part of a picture: ``image[window.slices]``."""
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )


def plan_windows(size_hw: tuple[int, int], window: int, overlap: float) -> list[Window]:
    """Windows of equal size over a picture, in row order (so with ascending ``top``).

    Args:
        size_hw: of the picture, in pixels.
        window: longest side of a window in original pixels; a shorter picture is taken whole.
        overlap: share of the window that neighbours have in common at least, in [0, 1). Windows
            are spread evenly, so most of them overlap by a little more.

    Raises:
        ValueError: a size or a window below 1, or an overlap outside [0, 1).
    """
    if min(size_hw) < 1 or window < 1 or not 0 <= overlap < 1:
        raise ValueError(
            f"cannot cover {size_hw[1]}x{size_hw[0]} pixels with windows of {window} and overlap "
            f"{overlap}: sizes are 1 or more, overlap in [0, 1)"
        )
    rows, cols = (_weighted_intervals(size, window, overlap) for size in size_hw)
    return [
        Window(top, left, row_weights, col_weights)
        for top, row_weights in rows
        for left, col_weights in cols
    ]


def interval_starts(size: int, window: int, overlap: float) -> list[int]:
    """First pixels of the intervals of ``min(window, size)`` pixels that cover ``size``."""
    length = min(window, size)
    stride = max(1, length - round(overlap * length))
    last = math.ceil((size - length) / stride)
    return [round(k * (size - length) / last) if last else 0 for k in range(last + 1)]


def _weighted_intervals(size: int, window: int, overlap: float) -> list[tuple[int, WeightArray]]:
    """Start and weights of each interval; the weights at a pixel sum to one.

    A weight rises linearly from either end over the stretch shared with the neighbour there, and
    is level at the picture's own edges; division by the sum makes this exact for any overlap.
    """
    starts = interval_starts(size, window, overlap)
    length = min(window, size)
    ramps = []
    for k, start in enumerate(starts):
        pixel = np.arange(length) + 0.5
        before = starts[k - 1] + length - start if k else 0
        after = start + length - starts[k + 1] if k + 1 < len(starts) else 0
        rising = pixel / before if before else np.ones(length)
        falling = (length - pixel) / after if after else np.ones(length)
        ramps.append(np.minimum(1.0, np.minimum(rising, falling)))
    total = np.zeros(size)
    for start, ramp in zip(starts, ramps, strict=True):
        total[start : start + length] += ramp
    return [
        (start, (ramp / total[start : start + length]).astype(np.float32))
        for start, ramp in zip(starts, ramps, strict=True)
    ]
