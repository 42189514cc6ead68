"""One axis of a bilinear sampling: neighbours and weights of each pixel, runs of equal cells."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.views.geometry import AxisMap

IndexArray = npt.NDArray[np.intp]

_SLACK = 1e-6
"""Grid points by which a map may leave the grid through rounding before it counts as a mistake."""


@dataclass(frozen=True, slots=True)
class AxisSamples:
    """Pixel x reads ``(1 - weight[x]) * grid[lower[x]] + weight[x] * grid[lower[x] + 1]``.

    ``lower`` is (size,) intp in [0, max(points - 2, 0)]; ``weight`` is (size,) float32 in [0, 1].
    """

    lower: IndexArray
    weight: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AxisRuns:
    """Consecutive pixels between the same two grid points, in pixel order.

    Run k covers the pixels ``starts[k], …, starts[k] + lengths[k] - 1``, all of them between the
    grid points ``cells[k]`` and ``cells[k] + 1``. Each is (n,) intp; lengths are 1 or more.
    """

    cells: IndexArray
    starts: IndexArray
    lengths: IndexArray

    def pixels(self, chosen: IndexArray) -> IndexArray:
        """(longest, n): the pixels of the chosen runs, the last one repeated in shorter runs."""
        lengths = self.lengths[chosen]
        steps = np.minimum(np.arange(lengths.max())[:, None], lengths - 1)
        result: IndexArray = self.starts[chosen] + steps
        return result


def axis_samples(axis: AxisMap, size: int, points: int) -> AxisSamples:
    """Neighbours and weights of ``size`` pixels on an axis of ``points`` grid points.

    The last grid point is read as the far end of the last cell (weight 1), so that every pixel
    lies in a cell; an axis of one point has the one cell 0 and weights 0.

    Raises:
        ValueError: the map leads to positions that are not on the grid.
    """
    if not (math.isfinite(axis.scale) and math.isfinite(axis.offset)):
        raise ValueError(f"axis map {axis} is not finite")
    if not (axis.low >= -_SLACK and axis.low <= axis.high <= points - 1 + _SLACK):
        raise ValueError(
            f"axis map clamps to [{axis.low}, {axis.high}], outside a grid of {points} points: "
            "clamp it to 0 … points - 1"
        )
    positions = np.clip(axis.positions(0, size), 0.0, points - 1.0)
    lower = np.minimum(positions.astype(np.intp), max(points - 2, 0))
    return AxisSamples(lower, (positions - lower).astype(np.float32))


def axis_runs(samples: AxisSamples, longest: int) -> AxisRuns:
    """The runs of an axis, those above a common length cut evenly.

    The common length is that of the longest run between the first and the last (an affine map
    makes those equal to within one pixel, a clamp may stretch the outer two), at most ``longest``.
    """
    size = len(samples.lower)
    edges = np.flatnonzero(np.diff(samples.lower, prepend=-1))
    lengths = np.diff(edges, append=size)
    inner = lengths[1:-1] if len(lengths) > 2 else lengths
    limit = min(int(inner.max()), longest)
    pieces = -(-lengths // limit)
    piece = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    whole, parts = np.repeat(lengths, pieces), np.repeat(pieces, pieces)
    starts = np.repeat(edges, pieces) + piece * whole // parts
    return AxisRuns(samples.lower[starts], starts, np.diff(starts, append=size))
