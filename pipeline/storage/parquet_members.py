"""The encoded picture of one row of a Parquet file."""

import os
from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq

from maskmill.pipeline.storage.filesystems import refuse_beyond
from maskmill.pipeline.storage.members import open_container, split_member_uri
from maskmill.schemas.errors import ErrorCode, ImageFailure


def read_row(uri: str, limit: int | None) -> bytes:
    """The encoded picture of one row; empty for a null.

    Raises:
        ImageFailure: VANISHED where the file no longer has the row, UNSAFE_SIZE beyond ``limit``.
        OSError: the file is missing or cannot be read.
    """
    container, inner = split_member_uri(uri)
    group, row, column = inner.split("/", 2)
    try:
        values = _column(container, int(group), column, os.getpid())
        value = values[int(row)]
    except (pa.ArrowInvalid, IndexError) as error:
        raise ImageFailure(ErrorCode.VANISHED, f"{uri}: no such row any more: {error}") from error
    if not value.is_valid:
        return b""
    refuse_beyond(uri, value.as_buffer().size, limit)
    return bytes(value.as_py())


@lru_cache(maxsize=2)
def _column(container: str, group: int, column: str, process: int) -> pa.ChunkedArray:
    """The pictures of one row group; the last ones stay in memory, neighbours are asked next."""
    with open_container(container) as stream:
        values = pq.ParquetFile(stream).read_row_group(group, columns=[column]).column(0)
    if pa.types.is_struct(values.type):
        values = pa.chunked_array([chunk.field("bytes") for chunk in values.chunks])
    return values
