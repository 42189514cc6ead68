"""Pictures as encoded bytes in a Parquet column, as Hugging Face and img2dataset write them.

The key of a picture is its row number, eight digits: names in other columns may repeat, and rows
are read fastest in their own order. Keys of a glob of files start with the file's path.
"""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from maskmill.pipeline.sources.containers import container_files, container_root
from maskmill.pipeline.sources.entries import LazyListing, SourceEntry, SourceRequest, Tally
from maskmill.pipeline.storage.members import member_uri, open_container
from maskmill.schemas.errors import SettingsError

_USUAL_NAMES = ("image", "img", "jpg", "jpeg", "png", "bytes", "content", "image_bytes")


def list_parquet(request: SourceRequest, tally: Tally) -> LazyListing:
    """One entry per row of one Parquet file or a glob of them; sizes are unknown until read.

    Raises:
        SettingsError: not Parquet, or no column of bytes that is surely the picture.
    """
    return LazyListing(container_root(request), _rows(request, tally))


def image_column(schema: pa.Schema, name: str) -> str:
    """The column that holds pictures: bytes, or a struct with ``bytes``; a dotted path.

    Raises:
        SettingsError: there is none, or several and none has a usual name.
    """
    found = {field.name: path for field in schema if (path := _bytes_path(field)) is not None}
    usual = [column for column in _USUAL_NAMES if column in found]
    if len(found) == 1 or usual:
        return found[usual[0] if usual else next(iter(found))]
    raise SettingsError(
        f"{name} has {'no column' if not found else 'several columns'} of bytes "
        f"({', '.join(found) or ', '.join(schema.names)}); name the one with pictures 'image'"
    )


def _rows(request: SourceRequest, tally: Tally) -> Iterator[SourceEntry]:
    for prefix, container in container_files(request, tally):
        try:
            with open_container(container) as stream:
                file = pq.ParquetFile(stream)
                column = image_column(file.schema_arrow, container)
                sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
        except pa.ArrowInvalid as error:
            raise SettingsError(f"{container} is not a Parquet file: {error}") from error
        number = 0
        for group, rows in enumerate(sizes):
            for row in range(rows):
                uri = member_uri("parquet", container, f"{group}/{row}/{column}")
                yield SourceEntry(f"{prefix}{number:08d}", uri, None)
                number += 1


def _bytes_path(field: pa.Field) -> str | None:
    if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
        return str(field.name)
    if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
        return f"{field.name}.bytes"
    return None
