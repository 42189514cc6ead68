"""The two masks of a pair as what is measured sees them: counts, runs, blocks, class maps."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from maskmill.pipeline.metrics.bit_planes import PlaneLayout
from maskmill.pipeline.metrics.boundary import capped
from maskmill.pipeline.metrics.confusion import (
    PairCounts,
    ValueTable,
    count_pair,
    count_runs,
    to_class_map,
)
from maskmill.pipeline.metrics.joint_runs import Blocks, JointRuns, scan
from maskmill.schemas.arrays import LabelMask

_BAND = 1 << 18  # pixels hashed together


@dataclass(frozen=True, slots=True)
class ValueTables:
    """Mask values -> class indices, per side: the two masks may differ in bits per pixel."""

    truth: ValueTable
    prediction: ValueTable


@dataclass(frozen=True, slots=True)
class ScannedPair:
    """Counts, runs of classes, and blocks of classes of one pair."""

    counts: PairCounts
    runs: JointRuns
    blocks: Blocks


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
        self._are_plain = all(_is_plain(table, num_classes) for table in self._tables)

    def counts(self) -> PairCounts:
        """Counts alone."""
        return count_pair(
            *self._masks, self._num_classes,
            truth_table=self._tables[0], prediction_table=self._tables[1],
        )  # fmt: skip

    def scanned(self, layout: PlaneLayout) -> ScannedPair:
        """Counts and runs from one pass."""
        masks = self._masks if self._are_plain else self.class_maps
        runs, blocks = scan(*masks, self._num_classes, layout)
        if self._are_plain:
            counts = count_runs(
                runs.truth, runs.prediction, runs.lengths, self._num_classes, tables=self._tables
            )
        else:
            counts = self.counts()
        return ScannedPair(counts, runs.of_classes(), blocks)

    @property
    def truth(self) -> LabelMask:
        """(H, W) classes of the truth; values from C on are void."""
        return self._masks[0] if self._are_plain else self.class_maps[0]

    @cached_property
    def class_maps(self) -> tuple[LabelMask, LabelMask]:
        """(H, W) class indices of both: C is ignore, C + 1 no class."""
        left, right = (
            to_class_map(mask, table, self._num_classes)
            for mask, table in zip(self._masks, self._tables, strict=True)
        )
        return left, right

    def prints(self, counts: PairCounts) -> tuple[str, str]:
        """SHA-256 of both class maps."""
        strange = counts.truth_out_of_range, counts.prediction_out_of_range
        left, right = (
            self._print(side, is_known=not census) for side, census in enumerate(strange)
        )
        return left, right

    def _print(self, side: int, *, is_known: bool) -> str:
        mask, engine = self._masks[side], hashlib.sha256()
        is_map = self._are_plain and is_known and self._num_classes < 255  # but for void
        if not (is_map and mask.dtype == np.uint8):
            return hashlib.sha256(self.class_maps[side].tobytes()).hexdigest()
        rows = max(1, _BAND // max(1, mask.shape[1]))
        for top in range(0, len(mask), rows):
            engine.update(capped(mask[top : top + rows], self._num_classes).tobytes())
        return engine.hexdigest()


def _is_plain(table: ValueTable, num_classes: int) -> bool:
    if num_classes >= len(table):
        return False
    classes, rest = table[:num_classes], table[num_classes:]
    return bool((classes == np.arange(num_classes)).all() and (rest >= num_classes).all())
