"""The entries of a dataset on disk: memory holds eight bytes of each, however many there are."""

import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import pyarrow as pa

from maskmill.pipeline.datasets.samples import SampleItem
from maskmill.pipeline.storage.sorted_table import row_tables

NAMES: Final = pa.schema([("key", pa.string()), ("split", pa.string())])


class ItemSpool:
    """Items in the order they came, each as often as it is asked for."""

    def __init__(self, items: Iterable[SampleItem] = ()) -> None:
        self._places = array("q")
        self._size = 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the spool
        for item in items:
            self.append(item)

    def append(self, item: SampleItem) -> None:
        """Put one more at the end; everything is appended before anything is read."""
        line = json.dumps([item.key, item.split, item.payload]).encode() + b"\n"
        self._file.write(line)
        self._places.append(self._size)
        self._size += len(line)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: int) -> SampleItem:
        self._file.seek(self._places[place])
        key, split, payload = json.loads(self._file.readline())
        return SampleItem(key=key, split=split, payload=payload)

    def __iter__(self) -> Iterator[SampleItem]:
        return (self[place] for place in range(len(self)))

    def names(self) -> Iterator[pa.Table]:
        """Key and split of the items in their order, some thousands at a time."""
        return row_tables(((item.key, item.split) for item in self), NAMES)


def kept_items(items: Iterable[SampleItem]) -> Sequence[SampleItem] | ItemSpool:
    """Items that can be gone through again: as they are, or spooled where they come only once."""
    return items if isinstance(items, (Sequence, ItemSpool)) else ItemSpool(items)
