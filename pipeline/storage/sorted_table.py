"""Tables larger than memory, in the order of one column: sorted in runs, merged from disk."""

import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

RUN_BYTES: Final = 32 << 20
"""Rows of so many bytes are held, and sorted, at once."""

_BATCH_ROWS = 1024  # of a run: 100 million names of 250 bytes are 800 runs, 200 MiB at once
_AT_ONCE = 4096
_ROWS_AT_ONCE = 8192
_WRITTEN = pa.ipc.IpcWriteOptions(compression="zstd")


def row_tables(rows: Iterable[tuple[Any, ...]], schema: pa.Schema) -> Iterator[pa.Table]:
    """Rows, each a value per column, as tables of some thousands; made as they are taken."""
    waiting = iter(rows)
    while chunk := list(islice(waiting, _ROWS_AT_ONCE)):
        yield pa.table(list(zip(*chunk, strict=True)), schema=schema)


def rows_of(tables: Iterable[pa.Table]) -> Iterator[tuple[Any, ...]]:
    """The rows of tables, each a value per column: what :func:`row_tables` was given."""
    for table in tables:
        yield from zip(*(column.to_pylist() for column in table.columns), strict=True)


class SortedTable:
    """Rows by one column without nulls, ascending (text by code points); as often as asked for.

    Up to ``run_bytes`` of rows stay in memory. What is more lies in one temporary file, in runs
    that are sorted each, and ends with this object: going through the rows merges the runs and
    holds ``_BATCH_ROWS`` rows of each. Rows that are alike in the column come in any order.
    """

    def __init__(
        self, tables: Iterable[pa.Table], schema: pa.Schema, *, by: str, run_bytes: int = RUN_BYTES
    ) -> None:
        self.schema, self.num_rows = schema, 0
        self._by, self._held = by, schema.empty_table()
        self._runs: list[range] = []  # of the batches in the file
        self._writer: pa.ipc.RecordBatchFileWriter | None = None
        parts: list[pa.Table] = []
        held = 0
        for table in tables:
            if not table.num_rows:
                continue
            parts.append(table)
            held += table.nbytes
            self.num_rows += table.num_rows
            if held > run_bytes:
                self._spill(parts)
                parts, held = [], 0
        if not self._runs:
            self._held = self._sorted(parts)
        elif parts:
            self._spill(parts)
        self._close()

    def __iter__(self) -> Iterator[pa.Table]:
        """The rows in order, some thousands at a time."""
        if self._runs:
            yield from self._merged()
            return
        for start in range(0, self.num_rows, _AT_ONCE):
            yield self._held.slice(start, _AT_ONCE)

    @property
    def table(self) -> pa.Table:
        """All rows, in memory: for what cannot do with some at a time."""
        if not self._runs:
            return self._held
        return pa.concat_tables(self._merged()).combine_chunks()

    def filtered(self, wanted: npt.NDArray[np.bool_]) -> "SortedTable":
        """The rows of which ``wanted`` says so, in the order they come here."""
        return SortedTable(self.chosen(wanted), self.schema, by=self._by)

    def chosen(self, wanted: npt.NDArray[np.bool_]) -> Iterator[pa.Table]:
        """The same, gone through once, some at a time."""
        first = 0
        for table in self:
            yield table.filter(pa.array(wanted[first : first + table.num_rows]))
            first += table.num_rows

    def alike(self) -> Iterator[pa.Table]:
        """The rows whose value another row has too, in order, some at a time."""
        held = self.schema.empty_table()  # the last row so far: what comes after it is not known
        as_before = False
        for table in self:
            table = pa.concat_tables([held, table])
            values = table[self._by].combine_chunks()
            same = np.zeros(len(values) + 1, np.bool_)  # as the one before
            same[0] = as_before
            same[1:-1] = pc.equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
            yield table.slice(0, len(values) - 1).filter(pa.array((same[:-1] | same[1:])[:-1]))
            held, as_before = table.slice(len(values) - 1), bool(same[len(values) - 1])
        if as_before:
            yield held

    def head(self, count: int) -> "SortedTable":
        """The first rows."""
        return SortedTable(self._first(count), self.schema, by=self._by)

    def _first(self, count: int) -> Iterator[pa.Table]:
        left = count
        for table in self:
            yield table.slice(0, left)
            left -= table.num_rows
            if left <= 0:
                return

    def _sorted(self, parts: list[pa.Table]) -> pa.Table:
        table = pa.concat_tables([self.schema.empty_table(), *parts])
        return table.sort_by(self._by).combine_chunks()

    def _spill(self, parts: list[pa.Table]) -> None:
        if self._writer is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the table
            sink = pa.PythonFile(self._file, mode="w")
            self._writer = pa.ipc.new_file(sink, self.schema, options=_WRITTEN)
        batches = self._sorted(parts).to_batches(max_chunksize=_BATCH_ROWS)
        for batch in batches:
            self._writer.write_batch(batch)
        first = self._runs[-1].stop if self._runs else 0
        self._runs.append(range(first, first + len(batches)))
        pa.default_memory_pool().release_unused()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _merged(self) -> Iterator[pa.Table]:
        """Of each run a batch is there; what no later batch can precede is sorted and given."""
        reader = pa.ipc.open_file(pa.PythonFile(self._file, mode="r"))
        runs = [map(reader.get_batch, run) for run in self._runs]
        heads = {number: next(batches) for number, batches in enumerate(runs)}
        while heads:
            bound = min(head[self._by][-1].as_py() for head in heads.values())
            ready = []
            for number, head in list(heads.items()):
                column = head[self._by]
                if column[0].as_py() > bound:
                    continue
                count = pc.sum(pc.less_equal(column, pa.scalar(bound, column.type))).as_py()
                ready.append(head.slice(0, count))
                rest = head.slice(count) if count < len(head) else next(runs[number], None)
                if rest is None:
                    del heads[number]
                else:
                    heads[number] = rest
            yield pa.Table.from_batches(ready).sort_by(self._by)
