"""One view read in blocks of pixels: bounds of a whole block, and the values of its pixels."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.labelling.averages import PlacedView
from maskmill.pipeline.labelling.bilinear import AxisRuns, AxisSamples, IndexArray

Float32Array = npt.NDArray[np.float32]
ValueWriter = Callable[[IndexArray, Float32Array], None]


def view_bounds(
    view: PlacedView, rows: AxisRuns, cols: AxisRuns
) -> tuple[Float32Array, Float32Array]:
    """(C, n, m) each: bounds of the view's planes over blocks of pixel rows by columns.

    What the view counts is left out. A bilinear surface has its extremes in one direction at the
    ends of a stretch or at the grid points within it; taking one direction after the other gives
    bounds that are reached, or nearly so.
    """
    lower, weight = _nodes(view.cols, cols.starts - view.left, cols.lengths)
    first, last = int(lower.min()), int(lower.max()) + 2
    planes = view.planes[:, :, first:last]
    low, high = _extremes(
        planes, planes, *_nodes(view.rows, rows.starts - view.top, rows.lengths), 1
    )
    return _extremes(low, high, lower - first, weight, 2)


def count_bounds(
    counts: Float32Array, runs: AxisRuns, origin: int
) -> tuple[Float32Array, Float32Array]:
    """(n,) each: least and greatest of the counts of one axis, beginning at pixel ``origin``."""
    start, stop = int(runs.starts[0]), int(runs.starts[-1] + runs.lengths[-1])
    part, edges = counts[start - origin : stop - origin], runs.starts - start
    return np.minimum.reduceat(part, edges), np.maximum.reduceat(part, edges)


def value_writer(view: PlacedView, ys: IndexArray, xs: IndexArray) -> ValueWriter:
    """What writes the counted values of one class per block at the blocks' pixels.

    ``ys`` (R, n) and ``xs`` (S, n) are the pixels of n blocks. The function takes (k,) classes,
    for the first k blocks, and an array (R, S, k) to write to. Rows are interpolated first, for
    the few grid columns that a block touches; the operations are those of ``PlacedView.counted``.
    """
    row, col = ys - view.top, xs - view.left
    down, right = view.rows.weight[row][:, None], view.cols.weight[col]
    above, before = view.rows.lower[row], view.cols.lower[col]
    height, width = view.planes.shape[1:]
    first = before.min(axis=0)
    touched = np.arange(int((before - first).max()) + 2)[:, None]
    address = (above * width)[:, None] + np.minimum(first + touched, width - 1)  # (R, T, n)
    place = before - first
    count = view.row_counts[row][:, None] * view.col_counts[col]
    flat = view.planes.reshape(-1)

    def write(classes: IndexArray, out: Float32Array) -> None:
        some = len(classes)
        at = address[:, :, :some] + classes * (height * width)
        below = down[:, :, :some]
        stretch = (flat[at] * (1 - below) + flat[at + width] * below).reshape(len(ys), -1)
        near = (place[:, :some] * some + np.arange(some)).reshape(-1)
        beyond = right[:, :some]
        np.multiply(stretch.take(near, axis=1).reshape(out.shape), 1 - beyond, out=out)
        out += stretch.take(near + some, axis=1).reshape(out.shape) * beyond
        out *= count[:, :, :some]

    return write


def _nodes(
    samples: AxisSamples, starts: IndexArray, lengths: IndexArray
) -> tuple[IndexArray, Float32Array]:
    """(k, n) each: neighbours and weights of the places where a block can have its extremes.

    These are the positions of the block's first and last pixel and the grid points between.
    """
    ends = np.stack([starts, starts + lengths - 1])
    positions = samples.lower[ends] + samples.weight[ends].astype(np.float64)
    low, high = positions.min(axis=0), positions.max(axis=0)
    base = np.floor(low)
    steps = np.arange(int((np.floor(high) - base).max()) + 2)[:, None]
    places = np.clip(base + steps, low, high)
    lower = np.minimum(places.astype(np.intp), int(samples.lower[ends].max()))
    return lower, (places - lower).astype(np.float32)


def _extremes(
    low: Float32Array, high: Float32Array, lower: IndexArray, weight: Float32Array, axis: int
) -> tuple[Float32Array, Float32Array]:
    """The least of ``low`` and the greatest of ``high`` over the (k, n) nodes of one axis."""
    least, most = None, None
    for index, share in zip(lower, weight, strict=True):
        part = share if axis == 2 else share[:, None]
        below = low.take(index, axis) * (1 - part) + low.take(index + 1, axis) * part
        above = below
        if high is not low:
            above = high.take(index, axis) * (1 - part) + high.take(index + 1, axis) * part
        least = below if least is None else np.minimum(least, below)
        most = above if most is None else np.maximum(most, above)
    assert least is not None and most is not None  # a block has a first and a last pixel
    return least, most
