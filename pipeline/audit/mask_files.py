"""The masks of one side of an audit, in their order: on disk where there are many."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import pyarrow as pa

from maskmill.pipeline.storage.sorted_table import SortedTable, row_tables, rows_of

FILES: Final = pa.schema(
    [pa.field("key", pa.string(), False), pa.field("uri", pa.string()), ("item", pa.string())]
)
_NUMBERED: Final = pa.schema([*FILES, ("row", pa.int64())])


@dataclass(frozen=True, slots=True)
class MaskFile:
    """One mask on one side: its key (posix path relative to the side's root) and where it is.

    ``item`` is what a dataset's reader needs to find the mask, None where it is a file of its own.
    """

    key: str
    uri: str
    item: str | None = None


class MaskFiles:
    """Files in the order of a table on disk, gone through as often as asked for.

    Args:
        rows: with the columns ``key`` and, but for files of their own, ``item``.
        uri: its column that says where each is; rows that have none are no files.
    """

    def __init__(self, rows: SortedTable, uri: str = "uri") -> None:
        self._rows, self._uri = rows, uri
        self._count: int = sum(table.num_rows for table in self.tables())

    @classmethod
    def of(cls, files: Iterable[MaskFile]) -> "MaskFiles":
        """Files in the order they come."""
        rows = ((one.key, one.uri, one.item, row) for row, one in enumerate(files))
        return cls(SortedTable(row_tables(rows, _NUMBERED), _NUMBERED, by="row"))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[MaskFile]:
        return (MaskFile(*row) for row in rows_of(self.tables()))

    def tables(self) -> Iterator[pa.Table]:
        """The files, some thousands at a time: schema FILES."""
        for table in self._rows:
            uris = table[self._uri]
            items = table["item"] if "item" in table.column_names else _nulls(len(uris))
            files = pa.table([table["key"], uris, items], schema=FILES)
            yield files.filter(uris.is_valid()) if uris.null_count else files

    def at(self, places: Iterable[int]) -> list[MaskFile]:
        """Those at ascending places."""
        found: list[MaskFile] = []
        first, files = 0, iter(self)
        for place in places:
            found += islice(files, place - first, place - first + 1)
            first = place + 1
        return found


def _nulls(count: int) -> pa.Array:
    return pa.nulls(count, pa.string())
