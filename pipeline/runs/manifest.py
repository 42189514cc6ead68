"""The MANIFEST of a run on disk: in parts, a row group for each block.

``manifest/manifest.parquet`` holds the first ``PART_BLOCKS`` blocks, files beside it the next as
many each, so that a worker reads the footer of one part and its own block. A part that is not full
is the last one. Runs of other commands, and those that earlier versions began, have one file of all
blocks; where there are more than ``PART_BLOCKS`` in it, it is all there is.
"""

import hashlib
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import count, takewhile
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.tables.columns import undescribed

PART_BLOCKS: Final = 1024

_FOLDER = RunLayout.manifest.rpartition("/")[0]


class RowsDigest(Protocol):
    """A hash of a manifest's rows in order, of what makes them the same inputs."""

    def add(self, manifest: pa.Table) -> None:
        """The next rows."""

    def hexdigest(self) -> str:
        """The hash of what has come so far."""


class InputsDigest:
    """Hash of an input list in order: id, key and size of every image.

    Neither the output folder nor the place of the source is in it, so both may move.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, manifest: pa.Table) -> None:
        """The next rows; they have the columns ``image_id``, ``key`` and ``bytes``."""
        columns = (manifest[name].to_pylist() for name in ("image_id", "key", "bytes"))
        lines = (f"{row}\0{key}\0{size}\0" for row, key, size in zip(*columns, strict=True))
        self._digest.update("".join(lines).encode())

    def hexdigest(self) -> str:
        """The hash of what has come so far."""
        return self._digest.hexdigest()


class ManifestSpool:
    """A manifest that is not in its run yet: its parts, in a temporary folder.

    Args:
        schema: of its rows.
        digest: what hashes them; None for :class:`InputsDigest`.
    """

    def __init__(self, schema: pa.Schema, digest: RowsDigest | None = None) -> None:
        self._schema, self._plain = schema, undescribed(schema)
        self._folder = tempfile.TemporaryDirectory(prefix="maskmill-manifest-")
        self._writer: pq.ParquetWriter | None = None
        self._digest = digest or InputsDigest()
        self.sizes: list[int] = []

    def add(self, block: pa.Table) -> None:
        """The next block."""
        if len(self.sizes) % PART_BLOCKS == 0:
            self._begin_part()
        assert self._writer is not None
        self._writer.write_table(block.cast(self._plain))
        self._digest.add(block)
        self.sizes.append(block.num_rows)

    def close(self) -> None:
        """All blocks are there."""
        if self._writer is None:
            self._begin_part()
        assert self._writer is not None
        self._writer.close()

    def _begin_part(self) -> None:
        if self._writer is not None:
            self._writer.close()
        path = self._path(len(self.sizes))
        self._writer = pq.ParquetWriter(path, self._plain, compression="zstd")

    @property
    def num_rows(self) -> int:
        """Items of all blocks."""
        return sum(self.sizes)

    @property
    def sha256(self) -> str:
        """Of the rows, as the digest has it."""
        return self._digest.hexdigest()

    def tables(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The blocks in order, one at a time."""
        names = self._schema.names if columns is None else columns
        schema = pa.schema([self._schema.field(name) for name in names])
        for first in range(0, len(self.sizes), PART_BLOCKS):
            yield from (
                one.cast(schema) for one in _groups(pq.ParquetFile(self._path(first)), names)
            )

    def put(self, layout: RunLayout) -> None:
        """Into the run folder; wherever a kill comes between, what is read is consistent.

        The first part comes last where there are others: until then it is all there is, or the
        others continue it. None of an earlier attempt is left behind the last one.
        """
        layout.filesystem.create_dir(layout.path(_FOLDER))
        firsts = range(0, max(1, len(self.sizes)), PART_BLOCKS)
        layout.delete(part_path(firsts[-1] + PART_BLOCKS))
        for first in (*firsts[1:], 0):
            with Path(self._path(first)).open("rb") as part:
                layout.write_stream(part_path(first), part)

    def _path(self, first: int) -> str:
        return f"{self._folder.name}/{first}"


class StoredManifest:
    """The manifest of a run folder, gone through block by block."""

    def __init__(self, layout: RunLayout) -> None:
        self._layout = layout
        self.sizes: list[int] = []
        digest = InputsDigest()
        for block in self.tables(["image_id", "key", "bytes"]):
            self.sizes.append(block.num_rows)
            digest.add(block)
        self.sha256 = digest.hexdigest()

    @property
    def num_rows(self) -> int:
        """Items of all blocks."""
        return sum(self.sizes)

    def tables(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The blocks in order, one at a time."""
        return manifest_blocks(self._layout, columns)


Manifest = ManifestSpool | StoredManifest


def manifest_blocks(layout: RunLayout, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The blocks of a run's manifest in order, one at a time.

    Raises:
        FileNotFoundError: the run has none.
        RunFailed: a part is no readable Parquet.
    """
    for part in _parts(layout):
        yield from _groups(part, columns)


def read_manifest(layout: RunLayout, columns: list[str] | None = None) -> pa.Table:
    """All of a run's manifest in memory.

    Raises:
        FileNotFoundError: the run has none.
        RunFailed: a part is no readable Parquet.
    """
    return pa.concat_tables(part.read(columns) for part in _parts(layout)).combine_chunks()


def num_inputs(layout: RunLayout) -> int:
    """Items of a run's manifest, by the footers of its parts."""
    return sum(part.metadata.num_rows for part in _parts(layout))


def delete_manifest(layout: RunLayout) -> None:
    """Take a manifest out of a run folder, with all its parts."""
    parts = takewhile(layout.exists, map(part_path, count(0, PART_BLOCKS)))
    for part in reversed(list(parts)):
        layout.delete(part)


def part_path(first: int) -> str:
    """The part that begins with that block, relative to the run folder."""
    return f"{_FOLDER}/manifest-{first:07d}.parquet" if first else RunLayout.manifest


def manifest_block(layout: RunLayout, block: int) -> list[dict[str, Any]]:
    """The rows of one block, as dicts."""
    first = block - block % PART_BLOCKS
    if first:
        try:
            return row_group(layout, part_path(first), block - first)
        except FileNotFoundError:  # one file of all blocks
            pass
    return row_group(layout, layout.manifest, block)


def block_rows(layout: RunLayout, row: Mapping[str, Any], id_column: str) -> list[dict[str, Any]]:
    """What is to do of a block: the manifest's rows that a row of PENDING speaks of."""
    found = manifest_block(layout, row["block"])
    wanted = None if row["ids"] is None else set(row["ids"])
    return [one for one in found if wanted is None or one[id_column] in wanted]


def row_group(layout: RunLayout, relative: str, group: int) -> list[dict[str, Any]]:
    """One row group of a Parquet file of the run, as dicts.

    Raises:
        FileNotFoundError: no such file.
    """
    path = layout.path(relative)
    info = layout.filesystem.get_file_info(path)
    if info.type == fs.FileType.NotFound:
        raise FileNotFoundError(2, "no such file", path)
    file = _opened(layout, path, info.mtime_ns, info.size, threading.get_ident())
    rows: list[dict[str, Any]] = file.read_row_group(group).to_pylist()
    return rows


@lru_cache(maxsize=4)
def _opened(layout: RunLayout, path: str, mtime_ns: int, size: int, thread: int) -> pq.ParquetFile:
    """A file once per thread, as long as it is the same one: large footers take time."""
    return pq.ParquetFile(layout.filesystem.open_input_file(path))


def write_manifest(stream: BinaryIO, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """A manifest as one Parquet file, a row group for each of the tables: block 0, 1, 2, …."""
    plain = undescribed(schema)
    with pq.ParquetWriter(stream, plain, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.cast(plain))


def put_manifest(layout: RunLayout, manifest: pa.Table) -> None:
    """A manifest in block order into the run folder, as one file."""
    with tempfile.TemporaryFile() as spool:
        write_manifest(cast(BinaryIO, spool), blocks_of(manifest), manifest.schema)
        put_manifest_file(layout, cast(BinaryIO, spool))


def put_manifest_file(layout: RunLayout, stream: BinaryIO) -> None:
    """A manifest that :func:`write_manifest` made, into the run folder."""
    stream.seek(0)
    layout.filesystem.create_dir(layout.path(_FOLDER))
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


def _groups(file: pq.ParquetFile, columns: list[str] | None) -> Iterator[pa.Table]:
    for group in range(file.num_row_groups):
        yield file.read_row_group(group, columns)


def _parts(layout: RunLayout) -> Iterator[pq.ParquetFile]:
    """The parts in order, each open until the next one is asked for."""
    for first in count(0, PART_BLOCKS):
        if first and not layout.exists(part_path(first)):
            return
        with layout.open_parquet(part_path(first)) as part:
            yield part
            if part.num_row_groups != PART_BLOCKS:
                return
