"""One rule of pairing, tried on many files: sorted on disk by what partners must share.

Memory holds some thousands of the files at a time, and a byte of each.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import nsmallest
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.audit.pair_rules import KeyOf
from maskmill.pipeline.storage.sorted_table import SortedTable, row_tables, rows_of
from maskmill.schemas.errors import ErrorCode

SIDED: Final = pa.schema(
    [
        ("stem", pa.string()),  # the key without a picture's extension
        ("is_truth", pa.bool_()),
        ("row", pa.int64()),  # of its side
        ("key", pa.string()),
        ("uri", pa.string()),
        ("item", pa.string()),
    ]
)
"""A file of either side."""

FOUND: Final = pa.schema(
    [
        ("key", pa.string()),
        ("is_truth", pa.bool_()),  # of a file without a partner; with the next, the order of
        ("row", pa.int64()),  # those of one key
        *((f"{side}_{name}", pa.string()) for side in ("prediction", "truth")
          for name in ("key", "uri", "item")),
        ("error_code", pa.string()),
        ("error_message", pa.string()),
    ]
)  # fmt: skip
"""A pair, or a file that has no partner."""

_NAMED: Final = pa.schema([("name", pa.string()), *SIDED])
_NAME, _NOTHING = "=", "-+"
"""What texts that files are joined by begin with; those without a name share theirs with none of
the other side."""

_LONELY, _PAIRED, _AMBIGUOUS = range(3)
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Rest:
    """Files that have no partner yet: SIDED tables, and how many of predictions and truths."""

    tables: Callable[[], Iterator[pa.Table]]
    counts: tuple[int, int]

    def keys(self, *, is_truth: bool) -> Iterator[str]:
        """The keys of one side, in no order."""
        for table in self.tables():
            side = table.filter(pc.equal(table["is_truth"], is_truth))
            yield from side["key"].to_pylist()


class Matches:
    """What a rule finds among files: ``pairs`` of them, those that ``met``, and the ``rest``.

    Args:
        files: of both sides.
        keys: the rule for predictions, and that for truths.
    """

    def __init__(self, files: Rest, keys: tuple[KeyOf, KeyOf]) -> None:
        named = (_named(table, keys) for table in files.tables())
        self._files = SortedTable(named, _NAMED, by="name")
        self._verdicts, truths = _verdicts(self._files)
        left = int(np.count_nonzero(self._verdicts == _LONELY)) - truths
        self.pairs = int(np.count_nonzero(self._verdicts == _PAIRED)) // 2
        self.rest = Rest(lambda: self._of(self._verdicts == _LONELY), (left, truths))
        counts = (files.counts[0] - left, files.counts[1] - truths)
        self.met = Rest(lambda: self._of(self._verdicts != _LONELY), counts)

    def found(self) -> Iterator[pa.Table]:
        """FOUND rows of the pairs, then of those that are ambiguous; in no order."""
        yield from _partners(self._of(self._verdicts == _PAIRED))
        yield from row_tables(self._ambiguous(), FOUND)

    def _of(self, chosen: npt.NDArray[np.bool_]) -> Iterator[pa.Table]:
        return (table for table in self._files.chosen(chosen) if table.num_rows)

    def _ambiguous(self) -> Iterator[tuple[Any, ...]]:
        """A name may be that of very many files: they are gone through twice, and not held."""
        groups = (
            groupby(rows_of(self._of(self._verdicts == _AMBIGUOUS)), itemgetter(0))
            for _ in range(2)
        )
        for (name, once), (_, again) in zip(*groups, strict=True):
            message = _ambiguity(name.removeprefix(_NAME), once)
            for _, *file in again:
                yield *_alone(*file), ErrorCode.AMBIGUOUS_PAIR.value, message


def lonely(rest: Rest) -> Iterator[pa.Table]:
    """FOUND rows of files that no rule has found a partner for."""
    files = (file for file in rows_of(table.select(SIDED.names) for table in rest.tables()))
    return row_tables(((*_alone(*file), *_loneliness(*file)) for file in files), FOUND)


def _named(table: pa.Table, keys: tuple[KeyOf, KeyOf]) -> pa.Table:
    names = []
    for key, is_truth in zip(table["key"].to_pylist(), table["is_truth"].to_pylist(), strict=True):
        name = keys[is_truth](key)
        names.append(_NOTHING[is_truth] if name is None else _NAME + name)
    columns = (table[name] for name in SIDED.names)
    return pa.table([pa.array(names, pa.string()), *columns], schema=_NAMED)


def _verdicts(files: SortedTable) -> tuple[npt.NDArray[np.uint8], int]:
    """What becomes of each file, in the order they come; and how many truths are lonely."""
    verdicts = np.zeros(files.num_rows, np.uint8)
    begun = np.zeros(2, np.int64)  # of the name that is not through: its first row, truths before
    end = begun.copy()
    last = None
    lonely_truths = 0

    def judge(edges: npt.NDArray[np.int64]) -> int:
        """Names between edges, which are (N + 1, 2) rows and truths before each."""
        sizes, truths = np.diff(edges, axis=0).T
        met = (truths > 0) & (truths < sizes)
        of_name = np.where(met, np.where(sizes == 2, _PAIRED, _AMBIGUOUS), _LONELY)
        verdicts[edges[0, 0] : edges[-1, 0]] = np.repeat(of_name, sizes)
        return int(truths[~met].sum())

    for table in files:
        names = table["name"].combine_chunks()
        first = np.flatnonzero(pc.not_equal(names[1:], names[:-1])) + 1
        if last is not None and names[0].as_py() != last:
            first = np.insert(first, 0, 0)
        before = np.cumsum(np.insert(table["is_truth"].to_numpy(), 0, 0))
        edges = np.vstack([begun, end + np.column_stack([first, before[first]])])
        lonely_truths += judge(edges)
        begun, end = edges[-1], end + np.array([len(names), before[-1]])
        last = names[-1].as_py()
    return verdicts, lonely_truths + judge(np.vstack([begun, end]))


def _partners(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Files whose name one of each side has, two by two -> FOUND rows."""
    odd = _NAMED.empty_table()
    for table in tables:
        files = pa.concat_tables([odd, table]).combine_chunks()
        even = files.num_rows // 2 * 2
        odd = files.slice(even)
        first = np.arange(0, even, 2)
        truth_first = files["is_truth"].to_numpy()[:even:2].astype(np.int64)
        prediction, truth = files.take(first + truth_first), files.take(first + 1 - truth_first)
        places = [side[name] for side in (prediction, truth) for name in ("key", "uri", "item")]
        sides = [truth["stem"], truth["is_truth"], truth["row"], *places]
        none = pa.nulls(len(first), pa.string())
        yield pa.table([*sides, none, none], schema=FOUND)


def _alone(
    stem: str, is_truth: bool, row: int, key: str, uri: str, item: str | None
) -> tuple[Any, ...]:
    """The first columns of FOUND for a file without a partner."""
    place, none = (key, uri, item), (None, None, None)
    return (stem, is_truth, row, *((*none, *place) if is_truth else (*place, *none)))


def _loneliness(stem: str, is_truth: bool, row: int, key: str, *_: Any) -> tuple[str, str]:
    if is_truth:
        message = f"{key}: no prediction of this name; predict it, or take it out of the truth"
        return ErrorCode.MISSING_PREDICTION.value, message
    message = f"{key}: no truth of this name; label it, or take it out of the predictions"
    return ErrorCode.MISSING_TRUTH.value, message


def _ambiguity(name: str, files: Iterable[tuple[Any, ...]]) -> str:
    counts, shown = [0, 0], [list[str](), list[str]()]
    for _, _, is_truth, _, key, *_ in files:
        counts[is_truth] += 1
        shown[is_truth] = nsmallest(_SHOWN, [*shown[is_truth], key])
    told = [
        ", ".join(keys) + ", …" * (count > _SHOWN)
        for count, keys in zip(counts, shown, strict=True)
    ]
    return (
        f"{name}: {counts[0]} predictions ({told[0]}) and {counts[1]} truths ({told[1]}) share "
        "this name; keep one of each"
    )
