"""Stable ids, output names and units of work: the MANIFEST table of a run."""

import hashlib
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.output_names import (
    may_collide,
    output_column,
    output_names,
    refuse_collisions,
    values_of,
)
from maskmill.pipeline.sources.registry import Listing
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.tables.columns import undescribed
from maskmill.schemas.tables.prelabel import MANIFEST

BLOCK_IMAGES = 32
BLOCK_BYTES = 64 * 2**20
_UNSAFE_KEY = r"^/|^$|//|/$|(^|/)\.\.?(/|$)|\x00"


def build_manifest(
    listing: Listing,
    *,
    block_images: int = BLOCK_IMAGES,
    block_bytes: int = BLOCK_BYTES,
    first_id: int = 1,
    first_block: int = 0,
) -> pa.Table:
    """The MANIFEST of a listing, sorted by key: the same listing gives the same table.

    Args:
        listing: what ``list_source`` found.
        block_images: most images of a block.
        block_bytes: most encoded bytes of a block; a larger image has a block of its own.
        first_id: ``image_id`` of the first row.
        first_block: ``block`` of the first row.

    Raises:
        SettingsError: a key repeats or would leave the output folder, or two outputs would collide.
    """
    entries = listing.table
    _refuse_unsafe(entries["key"])
    outputs = output_column(entries["key"])
    if may_collide(outputs):
        refuse_collisions(entries["key"].to_pylist(), outputs.to_pylist())
    blocks = _blocks(entries["bytes"], block_images, block_bytes, first_block)
    ids = range(first_id, first_id + entries.num_rows)
    return _table(ids, entries, blocks, outputs)


def extend_manifest(
    old: pa.Table,
    listing: Listing,
    *,
    block_images: int = BLOCK_IMAGES,
    block_bytes: int = BLOCK_BYTES,
) -> pa.Table:
    """The old MANIFEST followed by the keys that are new: ids and blocks after the largest.

    Old rows keep id, block and output; their uris are those of the listing, so that the source
    may have moved. A new key that would collide with an old output keeps its extension.

    Raises:
        SettingsError: an old key is gone or its file has another size, or outputs collide.
    """
    position = {key: row for row, key in enumerate(listing.table["key"].to_pylist())}
    old_keys = old["key"].to_pylist()
    _refuse_vanished(old, listing, position)
    kept = listing.table.take(pa.array(map(position.pop, old_keys), pa.int64()))
    added = listing.table.take(pa.array(sorted(position.values()), pa.int64()))
    new_keys = added["key"].to_pylist()
    _refuse_unsafe(added["key"])
    names = dict(zip(old_keys + new_keys, output_names(old_keys + new_keys), strict=True))
    outputs = [names[key] for key in new_keys]
    refuse_collisions(old_keys + new_keys, old["output"].to_pylist() + outputs)
    first_block = pc.max(old["block"]).as_py() + 1
    blocks = _blocks(added["bytes"], block_images, block_bytes, first_block)
    first_id = pc.max(old["image_id"]).as_py() + 1
    new_outputs = pa.chunked_array([pa.array(outputs, pa.string())])
    new = _table(range(first_id, first_id + len(new_keys)), added, blocks, new_outputs)
    moved = old.set_column(MANIFEST.get_field_index("uri"), MANIFEST.field("uri"), kept["uri"])
    return pa.concat_tables([moved, new]).combine_chunks()


def write_manifest(stream: BinaryIO, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """A manifest as Parquet, a row group for each of the tables: block 0, 1, 2, ….

    So a worker reads its own block and no other.
    """
    plain = undescribed(schema)
    with pq.ParquetWriter(stream, plain, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.cast(plain))


def put_manifest(layout: RunLayout, manifest: pa.Table) -> None:
    """A manifest in block order into the run folder."""
    with tempfile.TemporaryFile() as spool:
        write_manifest(cast(BinaryIO, spool), blocks_of(manifest), manifest.schema)
        put_manifest_file(layout, cast(BinaryIO, spool))


def put_manifest_file(layout: RunLayout, stream: BinaryIO) -> None:
    """A manifest that :func:`write_manifest` made, into the run folder."""
    stream.seek(0)
    layout.filesystem.create_dir(layout.path(layout.manifest).rpartition("/")[0])
    layout.write_stream(layout.manifest, stream)


def blocks_of(manifest: pa.Table) -> Iterator[pa.Table]:
    """A manifest in block order, one block at a time."""
    first = 0
    for size in sizes_of(manifest):
        yield manifest.slice(first, size)
        first += size


def sizes_of(manifest: pa.Table) -> list[int]:
    """Items of each block of a manifest in block order."""
    counts: list[int] = np.bincount(manifest["block"].to_numpy()).tolist()
    return counts


def block_rows(layout: RunLayout, row: Mapping[str, Any], id_column: str) -> list[dict[str, Any]]:
    """What is to do of a block: the manifest's rows that a row of PENDING speaks of."""
    found = row_group(layout, layout.manifest, row["block"])
    wanted = None if row["ids"] is None else set(row["ids"])
    return [one for one in found if wanted is None or one[id_column] in wanted]


def row_group(layout: RunLayout, relative: str, group: int) -> list[dict[str, Any]]:
    """One row group of a Parquet file of the run, as dicts."""
    path = layout.path(relative)
    info = layout.filesystem.get_file_info(path)
    file = _opened(layout, path, info.mtime_ns, info.size, threading.get_ident())
    rows: list[dict[str, Any]] = file.read_row_group(group).to_pylist()
    return rows


@lru_cache(maxsize=4)
def _opened(layout: RunLayout, path: str, mtime_ns: int, size: int, thread: int) -> pq.ParquetFile:
    """A file once per thread, as long as it is the same one: large footers take time."""
    return pq.ParquetFile(layout.filesystem.open_input_file(path))


def manifest_sha256(manifest: pa.Table) -> str:
    """Hash of the input list in order: id, key and size of every image.

    Neither the output folder nor the place of the source is in it, so both may move.
    """
    digest = hashlib.sha256()
    for batch in manifest.select(["image_id", "key", "bytes"]).to_batches(max_chunksize=8192):
        columns = (column.to_pylist() for column in batch.columns)
        lines = (f"{row}\0{key}\0{size}\0" for row, key, size in zip(*columns, strict=True))
        digest.update("".join(lines).encode())
    return digest.hexdigest()


def _table(
    ids: range, entries: pa.Table, blocks: npt.NDArray[np.int64], outputs: pa.ChunkedArray
) -> pa.Table:
    columns = [
        pa.array(np.arange(ids.start, ids.stop)),
        entries["key"],
        entries["uri"],
        entries["bytes"],
        pa.array(blocks),
        outputs,
    ]
    return pa.table(columns, schema=MANIFEST)


def _blocks(
    sizes: pa.ChunkedArray, block_images: int, block_bytes: int, first: int
) -> npt.NDArray[np.int64]:
    """The block of each row; a block closes at ``block_images`` rows or ``block_bytes`` bytes."""
    if block_images < 1 or block_bytes < 1:
        raise SettingsError(f"blocks of {block_images} images, {block_bytes} bytes: at least 1")
    blocks = np.empty(len(sizes), dtype=np.int64)
    block, images, filled = first, 0, 0
    for row, size in enumerate(values_of(sizes)):
        if images and (images == block_images or filled + (size or 0) > block_bytes):
            block, images, filled = block + 1, 0, 0
        blocks[row] = block
        images, filled = images + 1, filled + (size or 0)
    return blocks


def _refuse_unsafe(keys: pa.ChunkedArray) -> None:
    unsafe = keys.filter(pc.match_substring_regex(keys, _UNSAFE_KEY))
    if len(unsafe):
        raise SettingsError(f"{unsafe[0].as_py()!r} is not a path below the root of the source")
    for previous, key in pairwise(values_of(keys)):
        if previous == key:
            raise SettingsError(f"two files of the source have the key {key!r}; rename one of them")


def _refuse_vanished(old: pa.Table, listing: Listing, position: dict[str, int]) -> None:
    sizes = listing.table["bytes"].to_pylist()
    keys = old["key"].to_pylist()
    gone = [key for key in keys if key not in position]
    if gone:
        raise SettingsError(
            f"{len(gone)} images of the run are no longer in {listing.source}, first {gone[0]}; "
            "a run can grow, not shrink: put them back, or start a new output folder"
        )
    for key, size in zip(keys, old["bytes"].to_pylist(), strict=True):
        if size != sizes[position[key]]:
            raise SettingsError(
                f"{key} had {size} bytes when the run began and has {sizes[position[key]]} now; "
                "put the old file back, or start a new output folder"
            )
