"""Two masks in one pass: the runs of pixels in which neither changes, and where each does.

What is made of a band of rows stays in a core's cache; of the picture only the runs are kept, and
two planes of bits. Values from ``void`` on are void; where the truth is, the prediction is too, but
for the values that runs begin with.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.metrics.bit_planes import Places, Plane, PlaneLayout, set_bits
from maskmill.pipeline.metrics.compiled import native
from maskmill.schemas.arrays import LabelMask

_BAND = 1 << 18  # pixels


@dataclass(frozen=True, slots=True)
class Blocks:
    """Bits where the square of two pixels that begins there, as far as it is in the picture, holds
    two classes.
    """

    layout: PlaneLayout
    truth: Plane
    prediction: Plane


@dataclass(frozen=True, slots=True)
class JointRuns:
    """Runs of one pair of values, each in one row, in the order of the pixels.

    ``places`` (N,) are y * span + x; a run ends where the next begins. At x = W of every row one
    begins that holds no pixel: ``lengths`` (N,) is 0 there, and both its values are ``void``.
    """

    layout: PlaneLayout
    void: int
    places: Places
    lengths: Places
    truth: LabelMask
    prediction: LabelMask

    def of_classes(self) -> "JointRuns":
        """Fewer runs, of pairs of classes: all void is one value, and void in the truth both."""
        if loops := native(self.truth, self.prediction):
            places, lengths = np.empty_like(self.places), np.empty_like(self.lengths)
            truth, prediction = np.empty_like(self.truth), np.empty_like(self.prediction)
            count = loops.of_classes(
                self.places, self.lengths, self.truth, self.prediction,
                places, lengths, truth, prediction, self.void,
            )  # fmt: skip
            fewer = places[:count], lengths[:count], truth[:count], prediction[:count]
            return JointRuns(self.layout, self.void, *fewer)
        truth = np.minimum(self.truth, self.truth.dtype.type(self.void))
        prediction = np.minimum(self.prediction, self.prediction.dtype.type(self.void))
        prediction[truth == self.void] = self.void
        begins = np.ones(len(truth), dtype=np.bool_)
        np.not_equal(truth[1:], truth[:-1], out=begins[1:])
        begins[1:] |= prediction[1:] != prediction[:-1]
        ends = np.flatnonzero(self.lengths == 0)
        begins[ends] = True
        begins[ends[:-1] + 1] = True
        kept = np.flatnonzero(begins)
        places = self.places.take(kept)
        lengths = np.append(np.diff(places), 0)
        values = truth.take(kept), prediction.take(kept)
        lengths[self.lengths.take(kept) == 0] = 0
        return JointRuns(self.layout, self.void, places, lengths, *values)

    def present(self) -> list[int]:
        """The classes that either holds."""
        counts = np.bincount(self.truth, minlength=self.void + 1)
        counts += np.bincount(self.prediction, minlength=self.void + 1)
        classes: list[int] = np.flatnonzero(counts[: self.void]).tolist()
        return classes


def scan(
    truth: LabelMask, prediction: LabelMask, void: int, layout: PlaneLayout
) -> tuple[JointRuns, Blocks]:
    """Runs of the values and blocks of the classes of two (H, W) masks of one size.

    ``void`` is a value that both can hold.
    """
    blocks = layout.empty(), layout.empty()
    places = [np.zeros(0, dtype=np.intp)]
    if not truth.size:
        return _runs(truth, prediction, void, layout, places[0]), Blocks(layout, *blocks)
    if loops := native(truth, prediction):
        masks = np.ascontiguousarray(truth), np.ascontiguousarray(prediction)
        parts = loops.scan(*masks, *blocks, *truth.shape, layout.words, layout.top, void)
        numbers = [np.frombuffer(one, dtype=np.int64) for one in parts[:2]]
        values = [np.frombuffer(one, dtype=np.uint8) for one in parts[2:]]
        runs = JointRuns(layout, void, numbers[0], numbers[1], values[0], values[1])
        return runs, Blocks(layout, *blocks)
    rows = max(1, _BAND // layout.span)
    scratch = _Scratch(layout, min(rows, layout.height) + 1)
    for top in range(0, layout.height, rows):
        bands = [one[top : top + rows + 1] for one in (truth, prediction)]
        size = min(rows, layout.height - top)
        parts = [layout.rows(one, top, size) for one in blocks]
        starts = _scan_band(bands, size, void, scratch, parts)
        places.append(set_bits(starts) + top * layout.span)
    return _runs(truth, prediction, void, layout, np.concatenate(places)), Blocks(layout, *blocks)


def _runs(
    truth: LabelMask, prediction: LabelMask, void: int, layout: PlaneLayout, places: Places
) -> JointRuns:
    rows = places // layout.span
    pixels = places - rows * (layout.span - layout.width)
    ends = np.flatnonzero(places - rows * layout.span == layout.width)
    lengths = np.empty_like(places)
    np.subtract(places[1:], places[:-1], out=lengths[:-1])
    lengths[ends] = 0
    values = [one.ravel().take(pixels, mode="clip") for one in (truth, prediction)]
    for one in values:
        one[ends] = void
    return JointRuns(layout, void, places, lengths, *values)


class _Scratch:
    """Flags of a band, packed row by row into words; what lies beside the picture stays False."""

    def __init__(self, layout: PlaneLayout, rows: int) -> None:
        self.width, self.words = layout.width, layout.words
        self._flags = np.zeros((rows, layout.span), dtype=np.bool_)
        self._sideways = np.zeros((rows, layout.span), dtype=np.bool_)
        self.inside = _row_words(layout, slice(layout.width - 1))
        self.edges = _row_words(layout, [0, layout.width])

    def sideways(self, band: LabelMask) -> Plane:
        """(n, words) where the next pixel is of another value."""
        flags = self._sideways[: len(band)]
        np.not_equal(band[:, 1:], band[:, :-1], out=flags[:, : self.width - 1])
        return self._packed(flags)

    def down(self, band: LabelMask, size: int) -> Plane:
        """(size, words) where the pixel below is of another value; below the last row is none."""
        flags = self._flags[:size]
        np.not_equal(band[1:], band[:-1], out=flags[: len(band) - 1, : self.width])
        flags[len(band) - 1 :] = False
        return self._packed(flags)

    def void(self, band: LabelMask, void: int) -> Plane | None:
        """(n, words) where the values are void; None where none is."""
        if not band.size or band.max() < void:
            return None
        flags = self._flags[: len(band)]
        np.greater_equal(band, void, out=flags[:, : self.width])
        return self._packed(flags)

    def _packed(self, flags: npt.NDArray[np.bool_]) -> Plane:
        bits: Plane = np.packbits(flags, bitorder="little").view("<u8")
        return bits.reshape(-1, self.words)


def _row_words(layout: PlaneLayout, columns: slice | list[int]) -> Plane:
    flags = np.zeros(layout.span, dtype=np.bool_)
    flags[columns] = True
    words: Plane = np.packbits(flags, bitorder="little").view("<u8")
    return words


def _scan_band(
    bands: list[LabelMask], size: int, void: int, scratch: _Scratch, blocks: list[Plane]
) -> Plane:
    """Fill in (size, words) blocks, and return where runs begin; bands have the row below too."""
    sideways = [scratch.sideways(band) for band in bands]
    starts = sideways[0][:size] | sideways[1][:size]
    starts = starts << np.uint64(1)
    starts.ravel()[1:] |= (sideways[0][:size] | sideways[1][:size]).ravel()[:-1] >> np.uint64(63)
    starts |= scratch.edges
    empty: Plane | None = None
    for band, side, block in zip(bands, sideways, blocks, strict=True):
        down, own = scratch.down(band, size), scratch.void(band, void)
        empty = own if empty is None else empty if own is None else empty | own
        if empty is not None:
            side = _with_void(side, empty, _next(empty)) & scratch.inside
            down[: len(band) - 1] = _with_void(down[: len(band) - 1], empty[:-1], empty[1:])
            down[len(band) - 1 :] = 0
        np.bitwise_or(down, side[:size], out=block)
        block[: len(side) - 1] |= side[1:]
    return starts


def _with_void(changes: Plane, here: Plane, there: Plane) -> Plane:
    """Between void and void nothing changes, between void and a class all."""
    changed: Plane = (changes & ~(here | there)) | (here ^ there)
    return changed


def _next(plane: Plane) -> Plane:
    """Each pixel takes the bit of the one to its right."""
    moved = plane >> np.uint64(1)
    moved.ravel()[:-1] |= plane.ravel()[1:] << np.uint64(63)
    return moved
