"""Rows put by one at a time: in memory while they are few, beyond that on disk."""

import tempfile
from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa

from maskmill.pipeline.storage.sorted_table import row_tables

_HELD: Final = 8192
_WRITTEN: Final = pa.ipc.IpcWriteOptions(compression="zstd")


class RowSpool:
    """Rows, each a value per column, in the order they came; gone through when all are there."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._held: list[tuple[Any, ...]] = []
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def add(self, row: tuple[Any, ...]) -> None:
        """One more."""
        self._held.append(row)
        if len(self._held) < _HELD:
            return
        if self._writer is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the spool
            sink = pa.PythonFile(self._file, mode="w")
            self._writer = pa.ipc.new_file(sink, self.schema, options=_WRITTEN)
        self._put_by(self._writer)

    def __iter__(self) -> Iterator[pa.Table]:
        """The rows, some thousands at a time."""
        if self._writer is not None:
            self._put_by(self._writer)
            self._writer.close()
            reader = pa.ipc.open_file(pa.PythonFile(self._file, mode="r"))
            for number in range(reader.num_record_batches):
                yield pa.Table.from_batches([reader.get_batch(number)])
        yield from row_tables(self._held, self.schema)

    def _put_by(self, writer: pa.ipc.RecordBatchFileWriter) -> None:
        for table in row_tables(self._held, self.schema):
            writer.write_table(table)
        self._held = []
