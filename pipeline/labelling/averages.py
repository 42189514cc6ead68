"""Several answers to one picture (scales, flips, windows) and their average as probabilities."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.labelling.bilinear import AxisSamples, IndexArray, axis_samples
from maskmill.pipeline.views.geometry import AxisMap
from maskmill.pipeline.views.tiling import Window
from maskmill.schemas.arrays import LogitGrid

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What the network says about a picture, or about one window of it, seen in one way.

    ``probabilities`` is (C, h, w) float32, at least 0: a grid after softmax. ``rows`` and
    ``cols`` map the pixels of the window (of the picture, where ``window`` is None) onto it.
    At each pixel the view counts ``weight`` (above 0) times the window's own weights.
    """

    probabilities: LogitGrid
    rows: AxisMap
    cols: AxisMap
    window: Window | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class PlacedView:
    """A view ready to be read: the rectangle it covers, neighbours and weights of its pixels.

    ``planes`` is (C, h, w) float32 with h and w of 2 or more. ``row_counts`` (bottom - top,) and
    ``col_counts`` (right - left,) are float32; their product is what the view counts at a pixel.
    Pixel indices in the methods are the picture's.
    """

    view: View
    planes: LogitGrid
    top: int
    left: int
    rows: AxisSamples
    cols: AxisSamples
    row_counts: Float32Array
    col_counts: Float32Array

    @property
    def bottom(self) -> int:
        """First pixel row below the view."""
        return self.top + len(self.row_counts)

    @property
    def right(self) -> int:
        """First pixel column beyond the view."""
        return self.left + len(self.col_counts)

    def counted(self, ys: IndexArray, xs: IndexArray) -> tuple[Float32Array, Float32Array]:
        """(C, n, m) probabilities at pixel rows by columns times what they count; (n, m) that."""
        row, col = ys - self.top, xs - self.left
        down, right = self.rows.weight[row][:, None], self.cols.weight[col]
        above = self.rows.lower[row]
        values: Float32Array = self.planes[:, above] * (1 - down) + self.planes[:, above + 1] * down
        before = self.cols.lower[col]
        values = values[:, :, before] * (1 - right) + values[:, :, before + 1] * right
        count: Float32Array = self.row_counts[row][:, None] * self.col_counts[col]
        values *= count
        return values, count


@dataclass(frozen=True, slots=True)
class Strip:
    """Pixel rows top, …, bottom - 1 of the picture and every view that covers some of each."""

    top: int
    bottom: int
    views: Sequence[PlacedView]


def place(view: View, size_hw: tuple[int, int], threshold: float = 0.5) -> PlacedView:
    """The view ready to be read, on a picture of ``size_hw`` pixels.

    Args:
        view: the view.
        size_hw: of the picture.
        threshold: of two classes, the second is to win where its probability is above this: the
            planes are scaled by (t, 1 - t), which leaves them as they are in proportion at ½.

    Raises:
        ValueError: probabilities that are negative, not finite or empty, a window outside the
            picture, a weight that is not positive, or a threshold without two classes.
    """
    grid = _checked(view, size_hw)
    if threshold != 0.5:
        if len(grid) != 2 or not 0 < threshold < 1:
            raise ValueError(f"threshold {threshold} with {len(grid)} classes: it is for two")
        factors = np.array([threshold, 1 - threshold], dtype=np.float32)
        grid = grid * factors[:, None, None]
    for axis in (1, 2):
        if grid.shape[axis] == 1:
            grid = np.repeat(grid, 2, axis=axis)
    window = view.window
    height, width = size_hw if window is None else (window.height, window.width)
    return PlacedView(
        view=view,
        planes=grid,
        top=0 if window is None else window.top,
        left=0 if window is None else window.left,
        rows=axis_samples(view.rows, height, view.probabilities.shape[1]),
        cols=axis_samples(view.cols, width, view.probabilities.shape[2]),
        row_counts=np.float32(view.weight)
        * (np.ones(height, np.float32) if window is None else window.row_weights),
        col_counts=np.ones(width, np.float32) if window is None else window.col_weights,
    )


def strips(views: Iterable[PlacedView], height: int) -> Iterator[Strip]:
    """The picture from top to bottom in strips, each with the views that cover it.

    Views come in ascending order of ``top`` and are taken one at a time; each is let go when the
    strips have passed it. So the views of a large picture need not exist at once.

    Raises:
        ValueError: a view that begins above the one before it.
    """
    active: list[PlacedView] = []
    done = 0
    for view in views:
        if (active and view.top < active[-1].top) or view.top < done:
            raise ValueError("views must come in the order of their tops")
        yield from _until(view.top, done, active)
        done = max(done, view.top)
        active = [other for other in active if other.bottom > done]
        active.append(view)
    yield from _until(height, done, active)


def _until(stop: int, done: int, active: Sequence[PlacedView]) -> Iterator[Strip]:
    """Strips from row ``done`` to row ``stop``, cut where a view ends."""
    edges = sorted({done, stop, *(view.bottom for view in active if done < view.bottom < stop)})
    for top, bottom in pairwise(edges):
        yield Strip(top, bottom, [view for view in active if view.bottom > top])


def average_probabilities(
    views: Sequence[PlacedView], ys: IndexArray, xs: IndexArray
) -> tuple[Float32Array, Float32Array]:
    """The weighted sum of the views' planes at pixel rows by columns, and the sum of weights.

    Args:
        views: those that may cover the pixels, in the order in which they are to be added.
        ys: (n,) ascending pixel rows of the picture.
        xs: (m,) ascending pixel columns.

    Returns:
        (C, n, m) and (n, m) float32; their quotient is the average.

    Raises:
        ValueError: a pixel that no view covers.
    """
    total = np.zeros((len(ys), len(xs)), dtype=np.float32)
    values = np.zeros((len(views[0].planes) if views else 0, *total.shape), dtype=np.float32)
    for view in views:
        rows = slice(*np.searchsorted(ys, (view.top, view.bottom)))
        cols = slice(*np.searchsorted(xs, (view.left, view.right)))
        counted, count = view.counted(ys[rows], xs[cols])
        values[:, rows, cols] += counted
        total[rows, cols] += count
    if not total.all():
        raise ValueError("the views leave pixels of the picture uncovered")
    return values, total


def _checked(view: View, size_hw: tuple[int, int]) -> LogitGrid:
    """The view's probabilities as contiguous float32, or a ValueError."""
    grid, window = view.probabilities, view.window
    if grid.ndim != 3 or 0 in grid.shape:
        raise ValueError(f"probabilities are (classes, height, width), not {grid.shape}")
    if not (grid.min() >= 0 and np.isfinite(grid.max())):
        raise ValueError("probabilities are negative, NaN or infinite")
    if not (view.weight > 0 and np.isfinite(view.weight)):
        raise ValueError(f"a view's weight is positive, not {view.weight}")
    if window is not None and not (
        0 <= window.top <= size_hw[0] - window.height
        and 0 <= window.left <= size_hw[1] - window.width
    ):
        raise ValueError(f"a window leaves the picture of {size_hw[1]}x{size_hw[0]} pixels")
    return np.ascontiguousarray(grid, dtype=np.float32)
