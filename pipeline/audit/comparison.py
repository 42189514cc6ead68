"""Two audits side by side: what moved, and whether chance alone could have moved it.

The images both audits have compared are resampled together (paired bootstrap): a picture that is
hard for both weighs on both alike.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from maskmill.pipeline.audit.tally import row_to_vector
from maskmill.pipeline.metrics.intervals import (
    DEFAULT_RESAMPLES,
    Bootstrap,
    interval_of,
    two_sided_p,
)
from maskmill.pipeline.metrics.metric import Score
from maskmill.pipeline.metrics.registry import METRICS
from maskmill.pipeline.metrics.totals import Sums, Totals, TotalsLayout
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap

Row = dict[str, Any]
Document = dict[str, Any]

SIGNIFICANT = 0.05
ROW_COLUMNS = ["key", "status", "miou", "truth_sha256", "cells", "classes", "trimap", "levels"]
"""Columns of AUDIT that a comparison reads."""

RowSource = Callable[[list[str]], Iterable[Row]]
"""Given names of AUDIT columns, goes through the rows in key order; callable again."""

TRUTH_COLUMNS = ["key", "status", "truth_sha256", "cells"]
"""Columns of AUDIT that say which truth a picture was compared with."""

EXAMPLES = 3

_CLASS_MAP, _CLASS_PIXELS = "class map", "class pixels"

MOST_MOVED = 20
"""Pictures named of those that got better, and of those that got worse."""

_GROUP = 64


def compare_audits(
    before: Document,
    after: Document,
    rows_before: RowSource,
    rows_after: RowSource,
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    common: bool = False,
) -> Document:
    """What moved from one audit to another. The rows are gone through twice, a few at a time.

    Numbers against different truths say nothing about the predictions: a picture whose truth is not
    the same in both is refused, or left out where ``common`` says so. By what the others are known
    to be the same stands under ``truths``: pictures whose class maps are, by their hashes, and
    pictures of which only the number of pixels of each class is.

    Args:
        before: the document of the first audit.
        after: the document of the second audit.
        rows_before: the first audit's AUDIT rows.
        rows_after: the second audit's AUDIT rows.
        resamples: of the paired bootstrap.
        seed: of the paired bootstrap.
        common: leave out the pictures whose truths differ.

    Raises:
        SettingsError: the audits are of different classes, have no picture in common, or differ in
            their truths without ``common``.
    """
    labels = LabelMap.from_dict(before["labels"])
    _refuse_other_classes(labels, LabelMap.from_dict(after["labels"]))
    shared = _common(rows_before(TRUTH_COLUMNS), rows_after(TRUTH_COLUMNS))
    truths = _Truths.of(shared)
    if truths.differing and not common:
        raise SettingsError(truths.differing_sentence())
    num_common = truths.by_class_map + truths.by_class_pixels
    if not num_common:
        raise SettingsError("the two audits have no picture in common; compare audits of one truth")
    layout = TotalsLayout.of(labels)
    bootstrap = Bootstrap(num_common, 2 * layout.size, resamples=resamples, seed=seed)
    total = np.zeros(2 * layout.size)
    moved = _Movers()
    pairs = (
        (left, right)
        for left, right in _common(rows_before(ROW_COLUMNS), rows_after(ROW_COLUMNS))
        if not truths.differing or _same_by(left, right)
    )
    while group := list(islice(pairs, _GROUP)):
        vectors = np.stack([_joined(left, right, layout) for left, right in group])
        total += vectors.sum(axis=0)
        bootstrap.feed(vectors)
        moved.add(group)
    sides = _halves(total, layout), _halves(bootstrap.sums(), layout)
    return {
        "pictures": {
            "common": num_common, "before": before["ledger"]["ok"], "after": after["ledger"]["ok"],
        },
        "other_truth": truths.differing,
        "truths": truths.same(),
        "better": moved.best(1), "worse": moved.best(-1),
        "metrics": {
            name: {
                "title": metric.title, "shown": metric.shown, **_moved(metric.score, *sides, None),
            }
            for name, metric in METRICS.items()
        },
        "classes": _classes_moved(labels, sides),
    }  # fmt: skip


class _Movers:
    """The pictures whose own mIoU rose most and fell most; memory for those only."""

    def __init__(self) -> None:
        self._kept: list[Document] = []

    def add(self, group: list[tuple[Row, Row]]) -> None:
        for left, right in group:
            if left["miou"] is not None and right["miou"] is not None:
                self._kept.append({
                    "key": left["key"], "before": left["miou"], "after": right["miou"],
                    "change": right["miou"] - left["miou"],
                })  # fmt: skip
        self._kept = [*self.best(1), *self.best(-1)]

    def best(self, sign: int) -> list[Document]:
        """Largest change first, of those in the direction of ``sign``; ties by key."""
        moved = [one for one in self._kept if sign * one["change"] > 0]
        return sorted(moved, key=lambda one: (-sign * one["change"], one["key"]))[:MOST_MOVED]


@dataclass
class _Truths:
    """Of the pictures that both have: how many truths are the same, by what, and which are not."""

    by_class_map: int = 0
    by_class_pixels: int = 0
    differing: int = 0
    examples: list[str] = field(default_factory=list)  # keys of the first that differ

    @classmethod
    def of(cls, pairs: Iterable[tuple[Row, Row]]) -> "_Truths":
        """Of all of them, in key order."""
        truths = cls()
        for left, right in pairs:
            same_by = _same_by(left, right)
            truths.by_class_map += same_by == _CLASS_MAP
            truths.by_class_pixels += same_by == _CLASS_PIXELS
            if same_by is None:
                truths.differing += 1
                truths.examples += [left["key"]] * (len(truths.examples) < EXAMPLES)
        return truths

    def same(self) -> Document:
        """How many are known to be the same, by what."""
        return {"by_class_map": self.by_class_map, "by_class_pixels": self.by_class_pixels}

    def differing_sentence(self) -> str:
        """Which truths differ, and what to do."""
        shared = self.by_class_map + self.by_class_pixels + self.differing
        shown = ", ".join(self.examples)
        return (
            f"the truths differ in {self.differing:,} of the {shared:,} pictures that both "
            f"audits compared (for example {shown}), so their numbers cannot be compared; audit "
            "both against one truth, or give --common to compare the others only"
        )


def _same_by(left: Row, right: Row) -> str | None:
    """By what the truths are the same: the hash of the class map, else the pixels of each class."""
    prints = left["truth_sha256"], right["truth_sha256"]
    if all(prints):
        return _CLASS_MAP if prints[0] == prints[1] else None
    return _CLASS_PIXELS if _truth_pixels(left) == _truth_pixels(right) else None


def _truth_pixels(row: Row) -> Counter[int]:
    pixels: Counter[int] = Counter()
    for cell in row["cells"]:
        pixels[cell["truth"]] += cell["pixels"]
    return pixels


def _joined(left: Row, right: Row, layout: TotalsLayout) -> Sums:
    return np.concatenate([row_to_vector(left, layout), row_to_vector(right, layout)])


def _refuse_other_classes(labels: LabelMap, other: LabelMap) -> None:
    if labels.names != other.names:
        raise SettingsError(
            f"the audits are of different classes: {', '.join(labels.names[:8])}… and "
            f"{', '.join(other.names[:8])}…; audit both with the same --labels"
        )


def _common(rows_before: Iterable[Row], rows_after: Iterable[Row]) -> Iterator[tuple[Row, Row]]:
    """Pairs of ok rows of one key, from two iterations in key order."""
    left, right = _ok(rows_before), _ok(rows_after)
    one, other = next(left, None), next(right, None)
    while one is not None and other is not None:
        if one["key"] == other["key"]:
            yield one, other
            one, other = next(left, None), next(right, None)
        elif one["key"] < other["key"]:
            one = next(left, None)
        else:
            other = next(right, None)


def _ok(rows: Iterable[Row]) -> Iterator[Row]:
    return (row for row in rows if row["status"] == "ok")


def _halves(vectors: Sums, layout: TotalsLayout) -> tuple[Totals, Totals]:
    return layout.split(vectors[..., : layout.size]), layout.split(vectors[..., layout.size :])


def _moved(
    score: Score, point: tuple[Totals, Totals], resampled: tuple[Totals, Totals], index: int | None
) -> Document:
    place = ... if index is None else (..., index)
    before, after = (float(score(totals)[place]) for totals in point)
    differences = score(resampled[1])[place] - score(resampled[0])[place]
    interval, p_value = interval_of(differences), two_sided_p(differences)
    change = after - before
    known = bool(np.isfinite(change))
    return {
        "before": before if np.isfinite(before) else None,
        "after": after if np.isfinite(after) else None,
        "change": change if known else None,
        "low": interval.low if known else None, "high": interval.high if known else None,
        "p": p_value if known else None,
        "significant": known and p_value is not None and p_value < SIGNIFICANT,
    }  # fmt: skip


def _classes_moved(
    labels: LabelMap, sides: tuple[tuple[Totals, Totals], tuple[Totals, Totals]]
) -> list[Document]:
    """Per class the change of IoU, largest first; classes without one come last."""
    per_class = METRICS["iou"].per_class
    assert per_class is not None
    rows = [
        {"name": entry.name, **_moved(per_class, *sides, entry.index)} for entry in labels.classes
    ]
    return sorted(rows, key=lambda row: -abs(row["change"]) if row["change"] is not None else 1.0)
