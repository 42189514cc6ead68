"""Which classes may win where, by bounds; and the winner among them, pixel by pixel."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.labelling.bilinear import IndexArray
from maskmill.schemas.arrays import LabelMask

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The classes that may win in each of n cells.

    ``classes`` lists them cell after cell, ascending; those of cell k begin at ``starts[k]``
    and are ``counts[k]`` many, at least one.
    """

    counts: IndexArray
    starts: IndexArray
    classes: IndexArray

    def first(self, dtype: npt.DTypeLike) -> LabelMask:
        """(n,) the lowest class that may win in each cell: the winner where there is one only."""
        labels: LabelMask = self.classes[self.starts].astype(dtype)
        return labels

    def contested(self, cells: IndexArray) -> IndexArray:
        """Positions in ``cells`` with several candidates, those with most candidates first."""
        positions = np.flatnonzero(self.counts[cells] > 1)
        order = np.argsort(-self.counts[cells[positions]], kind="stable")
        result: IndexArray = positions[order]
        return result


def candidates(lowest: Float32Array, highest: Float32Array) -> Candidates:
    """The classes whose highest possible value reaches every other class's lowest possible one.

    Both are (C, …) bounds; the cells are the other axes in row order. Bounds must leave room for
    rounding: a class is dropped where it is below by any amount.
    """
    num_classes = len(lowest)
    possible = (highest >= lowest.max(axis=0)).reshape(num_classes, -1)
    counts = possible.sum(axis=0, dtype=np.uint16).astype(np.intp)
    classes = np.flatnonzero(np.ascontiguousarray(possible.T)) % num_classes
    return Candidates(counts, np.cumsum(counts) - counts, classes)


def narrowed(
    found: Candidates,
    cells: IndexArray,
    corners_of: Callable[[IndexArray, Float32Array], None],
    room: Float32Array,
) -> Candidates:
    """The classes that may still win in each of n blocks, by their values at its corners.

    Args:
        found: the candidates of the cells that the blocks are parts of.
        cells: (n,) the cell of each block, those with most candidates first.
        corners_of: writes the values of one class per block, for the first blocks, into an array
            (2, 2, m) for m classes; between them no value lies further out.
        room: (C,) by how much each class's values may be off, through rounding.
    """
    counts, starts = found.counts[cells], found.starts[cells]
    highest = np.full((int(counts[0]), len(cells)), -np.inf, dtype=np.float32)
    floor = np.full(len(cells), -np.inf, dtype=np.float32)
    corners = np.empty((2, 2, len(cells)), dtype=np.float32)
    for k in range(len(highest)):
        some = int(np.searchsorted(-counts, -k))  # blocks with more than k candidates
        classes, values = found.classes[starts[:some] + k], corners[:, :, :some]
        corners_of(classes, values)
        with np.errstate(over="ignore"):  # infinite, and rightly a candidate
            np.add(_over_four(values, np.maximum), room[classes], out=highest[k, :some])
            lowest = _over_four(values, np.minimum) - room[classes]
        np.maximum(floor[:some], lowest, out=floor[:some])
    possible = np.ascontiguousarray((highest >= floor).T)
    block, nth = np.divmod(np.flatnonzero(possible), len(highest))
    left = possible.sum(axis=1, dtype=np.intp)
    return Candidates(left, np.cumsum(left) - left, found.classes[starts[block] + nth])


def _over_four(values: Float32Array, extreme: np.ufunc) -> Float32Array:
    """(n,): the extreme of (2, 2, n) values."""
    result: Float32Array = extreme(extreme(*values[0]), extreme(*values[1]))
    return result


def contest(
    found: Candidates,
    cells: IndexArray,
    pixels: tuple[int, int],
    values_of: Callable[[IndexArray, Float32Array], None],
    dtype: npt.DTypeLike,
) -> tuple[LabelMask, Float32Array]:
    """(R, S, n) each: the candidate of highest value at R by S pixels in n cells, and that value.

    Cells are the last axis because that is the long one, and come in descending number of
    candidates: those that have a k-th one are the first so many. Ties go to the lowest class.

    Args:
        found: the candidates.
        cells: (n,) which cells.
        pixels: (R, S).
        values_of: writes the values of one class per cell, for the first cells, into an array
            (R, S, m) for m classes.
        dtype: of the labels.
    """
    counts, starts = found.counts[cells], found.starts[cells]
    best = np.empty((*pixels, len(cells)), dtype=np.float32)
    values, better = np.empty_like(best), np.empty(best.shape, dtype=np.bool_)
    labels = np.empty(best.shape, dtype=dtype)
    classes = found.classes[starts]
    values_of(classes, best)
    labels[:] = classes
    for k in range(1, int(counts[0])):
        some = int(np.searchsorted(-counts, -k))  # cells with more than k candidates
        part = np.s_[:, :, :some]
        classes = found.classes[starts[:some] + k]
        values_of(classes, values[part])
        np.greater(values[part], best[part], out=better[part])
        np.copyto(labels[part], classes.astype(dtype), where=better[part])
        np.maximum(best[part], values[part], out=best[part])
    return labels, best
