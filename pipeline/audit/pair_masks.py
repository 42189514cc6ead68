"""The masks of a pair as what is measured sees them: counts, runs, blocks, class maps, prints."""

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.metrics.bit_planes import Places, PlaneLayout
from maskmill.pipeline.metrics.boundary import boundary_layout
from maskmill.pipeline.metrics.compiled import native
from maskmill.pipeline.metrics.confusion import (
    PairCounts,
    ValueTable,
    count_pair,
    count_runs,
    to_class_map,
)
from maskmill.pipeline.metrics.joint_runs import Blocks, JointRuns, scan
from maskmill.schemas.arrays import LabelMask


@dataclass(frozen=True, slots=True)
class ValueTables:
    """Mask values -> class indices, per side: the two masks may differ in bits per pixel."""

    truth: ValueTable
    prediction: ValueTable


@dataclass(frozen=True, slots=True)
class ScannedPair:
    """Counts, runs of classes, and blocks of classes of one pair.

    ``prints`` say which class maps these are, of the truth and of the prediction: `mask_print`.
    """

    counts: PairCounts
    runs: JointRuns
    blocks: Blocks
    prints: tuple[str, str]


class PairMasks:
    """Two (H, W) masks and what is made of them, each thing when it is first asked for.

    Where classes stand for themselves and all else is void, the values are counted and scanned as
    they are; otherwise class maps are made first.
    """

    def __init__(
        self, truth: LabelMask, prediction: LabelMask, tables: ValueTables, num_classes: int
    ) -> None:
        self._masks, self._num_classes = (truth, prediction), num_classes
        self._tables = (tables.truth, tables.prediction)
        self._are_plain = all(_is_plain(table.tobytes(), num_classes) for table in self._tables)

    def counts(self) -> PairCounts:
        """Counts alone."""
        return count_pair(
            *self._masks, self._num_classes,
            truth_table=self._tables[0], prediction_table=self._tables[1],
        )  # fmt: skip

    @cached_property
    def scanned(self) -> ScannedPair:
        """Counts, runs and blocks from one pass, in a ``boundary_layout``."""
        layout = boundary_layout(self._masks[0].shape)
        masks = self._masks if self._are_plain else self.class_maps
        runs, blocks = scan(*masks, self._num_classes, layout)
        sides = zip((runs.truth, runs.prediction), self._tables, strict=True)
        if self._are_plain:
            counts = count_runs(
                runs.truth, runs.prediction, runs.lengths, self._num_classes, tables=self._tables
            )
            classes = [table.take(values) for values, table in sides]
        else:
            counts = self.counts()
            classes = [values.astype(np.uint16) for values, _ in sides]
        left, right = (_print_of_runs(runs, one) for one in classes)
        return ScannedPair(counts, runs.of_classes(), blocks, (left, right))

    @property
    def classes(self) -> tuple[LabelMask, LabelMask]:
        """(H, W) classes of the truth and of the prediction; values from C on are void."""
        return self._masks if self._are_plain else self.class_maps

    @cached_property
    def class_maps(self) -> tuple[LabelMask, LabelMask]:
        """(H, W) class indices of both: C is ignore, C + 1 no class."""
        left, right = (
            to_class_map(mask, table, self._num_classes)
            for mask, table in zip(self._masks, self._tables, strict=True)
        )
        return left, right


def mask_print(classes: LabelMask) -> str:
    """SHA-256 that says which (H, W) class map this is.

    Of height and width, then of the flat positions at which rows and runs of one class begin, then
    of these classes; little-endian integers of 64, of 32 and of 16 bits.
    """
    runs, _ = scan(classes, classes, 0, PlaneLayout.of(classes.shape, 1))  # whatever is void
    return _print_of_runs(runs, runs.truth.astype(np.uint16))


def _print_of_runs(runs: JointRuns, classes: npt.NDArray[np.uint16]) -> str:
    """As :func:`mask_print`, given the (N,) class of each run, of one side or of both."""
    layout = runs.layout
    engine = hashlib.sha256(np.array([layout.height, layout.width], dtype="<i8").tobytes())
    places, values = _one_side(runs, classes)
    engine.update(places.data)
    engine.update(values.data)
    return engine.hexdigest()


def _one_side(
    runs: JointRuns, classes: npt.NDArray[np.uint16]
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint16]]:
    """Flat positions at which runs of one class begin, and these classes; little-endian."""
    layout, places = runs.layout, np.empty(len(classes), dtype="<u4")
    if loops := native():
        values = np.empty(len(classes), dtype="<u2")
        sizes = layout.span, layout.width
        count = loops.one_side(runs.places, runs.lengths, classes, places, values, *sizes)
        return places[:count], values[:count]
    is_end = runs.lengths == 0
    begins = np.empty(len(classes), dtype=np.bool_)
    begins[:1] = True
    np.not_equal(classes[1:], classes[:-1], out=begins[1:])
    begins[1:] |= is_end[:-1]
    begins &= ~is_end
    kept = np.flatnonzero(begins)
    first: Places = runs.places.take(kept)
    first -= first // layout.span * (layout.span - layout.width)
    return first.astype("<u4"), classes.take(kept).astype("<u2", copy=False)


@lru_cache(maxsize=8)
def _is_plain(entries: bytes, num_classes: int) -> bool:
    table = np.frombuffer(entries, dtype=np.uint16)
    if num_classes >= len(table):
        return False
    classes, rest = table[:num_classes], table[num_classes:]
    return bool((classes == np.arange(num_classes)).all() and (rest >= num_classes).all())
