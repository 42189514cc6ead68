"""What belongs to a pair by its names: its picture, its confidences. Joined on disk."""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import pyarrow as pa

from maskmill.pipeline.audit.mask_files import MaskFiles
from maskmill.pipeline.audit.pair_rules import RULES, names_of
from maskmill.pipeline.audit.pairing import Pairs
from maskmill.pipeline.storage.sorted_table import SortedTable, row_tables, rows_of

_CALLED: Final = pa.schema(
    [
        ("name", pa.string()),
        ("key", pa.string()),  # of a companion; null in rows of pairs
        ("uri", pa.string()),
        ("pair", pa.int64()),  # its position; null in rows of companions
        ("rank", pa.int8()),  # what a pair asks for first counts; of companions of one key the last
    ]
)
_HITS: Final = pa.schema([("pair", pa.int64()), ("rank", pa.int8()), ("uri", pa.string())])
_URI: Final = 2


class Companions:
    """Files of which pairs ask for theirs by the rules of pairing.

    A pair asks by the prediction's names, then by the truth's; a name that several companions have
    is nobody's.

    Args:
        sources: the files. Where two sources have one key, that of the later is meant.
    """

    def __init__(self, *sources: MaskFiles) -> None:
        self._sources = sources

    def __len__(self) -> int:
        """Files of all sources."""
        return sum(map(len, self._sources))

    def uris(self, pairs: Pairs) -> Callable[[int], pa.Array]:
        """Asked for the next so many pairs: where the companion of each is, or null."""
        hits = self._hits(pairs) if len(self) else iter(())
        waiting, end = next(hits, None), 0

        def of_next(count: int) -> pa.Array:
            nonlocal waiting, end
            uris: list[str | None] = [None] * count
            while waiting is not None and waiting[0] < end + count:
                uris[waiting[0] - end] = waiting[1]
                waiting = next(hits, None)
            end += count
            return pa.array(uris, pa.string())

        return of_next

    def _hits(self, pairs: Pairs) -> Iterator[tuple[int, str]]:
        """Position and uri of the pairs that have one, by position."""
        called = SortedTable(row_tables(self._called(pairs), _CALLED), _CALLED, by="name")
        hits = SortedTable(row_tables(_met(called), _HITS), _HITS, by="pair")
        for pair, group in groupby(rows_of(hits), key=itemgetter(0)):
            yield pair, min(group, key=itemgetter(1))[_URI]

    def _called(self, pairs: Pairs) -> Iterator[tuple[Any, ...]]:
        for source, files in enumerate(self._sources):
            for file in files:
                for _, name in names_of(file.key):
                    yield name, file.key, file.uri, None, source
        keys = (row for table in pairs.tables() for row in zip(*_keys(table), strict=True))
        for pair, both in enumerate(keys):
            asked: dict[str, int] = {}
            for side, key in enumerate(both):
                for place, name in names_of(key) if key is not None else ():
                    asked.setdefault(name, side * len(RULES) + place)
            for name, rank in asked.items():
                yield name, None, None, pair, rank


def _met(called: SortedTable) -> Iterator[tuple[int, int, str]]:
    """Rows of _HITS. A name may be that of very many files: they are not held."""
    groups = (groupby(rows_of(called.alike()), key=itemgetter(0)) for _ in range(2))
    for (_, once), (_, again) in zip(*groups, strict=True):
        uri = _only(once)
        if uri is not None:
            yield from ((pair, rank, uri) for _, key, _, pair, rank in again if key is None)


def _only(rows: Iterable[tuple[Any, ...]]) -> str | None:
    """Where the companion of a name is; None where there is none, or several of other keys."""
    known: tuple[int, str, str] | None = None
    for _, key, uri, _, source in rows:
        if key is None:
            continue
        if known is not None and known[1] != key:
            return None
        known = max(known or (source, key, uri), (source, key, uri))
    return None if known is None else known[_URI]


def _keys(table: pa.Table) -> list[list[str | None]]:
    return [table[f"{side}_key"].to_pylist() for side in ("prediction", "truth")]
