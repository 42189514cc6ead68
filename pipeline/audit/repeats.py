"""The same mask or picture under several names: a file copied over another, a pair that is there
twice, a picture that was labelled twice.

What is alike among many is found by sorting their hashes on disk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import pyarrow as pa

from maskmill.pipeline.storage.row_spool import RowSpool
from maskmill.pipeline.storage.sorted_table import SortedTable, rows_of

Row = dict[str, Any]
Group = tuple[tuple[int, str], ...]
"""Id and key of pairs that are alike, ascending."""

_PRINTS: Final = pa.schema(
    [
        ("print", pa.string()),  # begins with what it is of
        ("pair_id", pa.int64()),
        ("key", pa.string()),
    ]
)
_PICTURES: Final = pa.schema(
    [
        ("picture", pa.string()),
        ("pair_id", pa.int64()),
        ("key", pa.string()),
        ("truth", pa.string()),
    ]
)
_SIDES: Final = ("both", "prediction", "truth")
_DIGITS: Final = 16  # of a hash: 64 bits


@dataclass(frozen=True, slots=True)
class Repeat:
    """Keys of pairs with one and the same mask on ``side``: prediction, truth or both."""

    side: str
    keys: tuple[str, ...]


class Repeats:
    """Finds masks that are there twice, among those with more than one class.

    Memory holds those that are found. Masks of one class are alike by nature.
    """

    def __init__(self) -> None:
        self._prints = RowSpool(_PRINTS)
        self._pictures = RowSpool(_PICTURES)

    def add(self, row: Row) -> None:
        """Remember one ok row."""
        prediction = _print(row["prediction_sha256"], row["classes"], "predicted_pixels")
        truth = _print(row["truth_sha256"], row["classes"], "truth_pixels")
        both = prediction + truth if prediction and truth else ""
        for side, text in zip(_SIDES, (both, prediction, truth), strict=True):
            if text:
                self._prints.add((f"{side} {text}", row["pair_id"], row["key"]))
        if row["image_sha256"] and row["truth_sha256"]:
            picture, labelled = row["image_sha256"], row["truth_sha256"]
            self._pictures.add((picture, row["pair_id"], row["key"], labelled))

    def found(self) -> list[Repeat]:
        """Repeats in the order of their first pairs."""
        groups: dict[str, list[Group]] = {side: [] for side in _SIDES}
        for text, group in _alike(self._prints):
            groups[text.partition(" ")[0]].append(tuple(group))
        both = set(groups["both"])
        found = [
            (group, side)
            for side in _SIDES
            for group in groups[side]
            if side == "both" or group not in both
        ]
        return [Repeat(side, tuple(key for _, key in group)) for group, side in sorted(found)]

    def contradictions(self) -> tuple[int, tuple[str, str] | None]:
        """Pairs whose picture an earlier one has, with another truth; the keys of the first two."""
        count = 0
        first: tuple[int, tuple[str, str]] | None = None
        for _, ((_, key, truth), *later) in _alike(self._pictures):
            others = [(one, (key, other)) for one, other, labelled in later if labelled != truth]
            count += len(others)
            first = min([*others[:1], *([first] if first else [])], default=None)
        return count, first and first[1]


def _print(sha256: str | None, classes: list[Row], pixels: str) -> str:
    """'' where nothing can be said by it."""
    if sha256 is None or sum(one[pixels] > 0 for one in classes) < 2:
        return ""
    return sha256[:_DIGITS]


def _alike(rows: RowSpool) -> Iterator[tuple[str, list[Any]]]:
    """What several rows have in their first column, and the rest of these rows by pair."""
    table = SortedTable(rows, rows.schema, by=rows.schema.names[0])
    for text, group in groupby(rows_of(table.alike()), key=itemgetter(0)):
        yield text, sorted(row[1:] for row in group)
