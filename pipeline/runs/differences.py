"""How the images of a source differ from those that a run began with.

Both stream by in key order, however many they are.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from maskmill.pipeline.runs.manifest import Manifest
from maskmill.pipeline.sources.registry import Listing
from maskmill.pipeline.storage.sorted_table import SortedTable
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.tables.prelabel import MANIFEST
from maskmill.schemas.text import count_of

Row = dict[str, Any]


@dataclass(slots=True)
class Difference:
    """How the images of a source differ from those that a run began with."""

    new: int = 0
    gone: int = 0
    resized: int = 0
    moved: int = 0
    first_new: str = ""
    first_gone: str = ""
    first_resized: tuple[str, int | None, int | None] = ("", None, None)

    @property
    def same_images(self) -> bool:
        """The same keys of the same sizes."""
        return not (self.new or self.gone or self.resized)

    def add(self, before: Row | None, now: Row | None) -> None:
        """What the run and the source hold of one key; at least one of them does."""
        if before is None and now is not None:
            self.first_new = self.first_new or now["key"]
            self.new += 1
        elif now is None and before is not None:
            self.first_gone = self.first_gone or before["key"]
            self.gone += 1
        elif before is not None and now is not None:
            if before["bytes"] != now["bytes"]:
                if not self.resized:
                    self.first_resized = (now["key"], before["bytes"], now["bytes"])
                self.resized += 1
            self.moved += before["uri"] != now["uri"]

    def refuse_lost(self, source: str) -> None:
        """A run can grow.

        Raises:
            SettingsError: where the source holds no longer what it held.
        """
        if self.gone:
            raise SettingsError(
                f"{count_of(self.gone, 'image')} of the run no longer in {source}, first "
                f"{self.first_gone}; a run can grow, not shrink: put them back, or start a new "
                "output folder"
            )
        if self.resized:
            key, before, now = self.first_resized
            raise SettingsError(
                f"{key} had {before} bytes when the run began and has {now} now; "
                "put the old file back, or start a new output folder"
            )


def compare_inputs(old: Manifest, listing: Listing) -> Difference:
    """The images of a run against those of a listing, both in key order."""
    found = Difference()
    for before, now in side_by_side(old, listing):
        found.add(before, now)
    return found


def side_by_side(old: Manifest, listing: Listing) -> Iterator[tuple[Row | None, Row | None]]:
    """Row of the run and row of the listing of every key, in key order; None where there is none.

    Raises:
        SettingsError: a key of the listing repeats.
    """
    manifest = SortedTable(old.tables(), MANIFEST, by="key")
    left, right = _rows(manifest), _unique(_rows(listing.rows))
    before, now = next(left, None), next(right, None)
    while before is not None or now is not None:
        if now is None or (before is not None and before["key"] < now["key"]):
            yield before, None
            before = next(left, None)
        elif before is None or now["key"] < before["key"]:
            yield None, now
            now = next(right, None)
        else:
            yield before, now
            before, now = next(left, None), next(right, None)


def _rows(tables: Iterable[pa.Table]) -> Iterator[Row]:
    for table in tables:
        yield from table.to_pylist()


def _unique(rows: Iterator[Row]) -> Iterator[Row]:
    previous = None
    for row in rows:
        if row["key"] == previous:
            raise repeated_key(row["key"])
        previous = row["key"]
        yield row


def repeated_key(key: str) -> SettingsError:
    """What is said of two files with one key."""
    return SettingsError(f"two files of the source have the key {key!r}; rename one of them")
