"""RunLayout: every path of a run folder, and the one way files get into it: whole."""

import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from maskmill.pipeline.storage.filesystems import bucket_place, infos_of, join_uri, native, resolve
from maskmill.pipeline.storage.parts import Stretch, parse_stretch, part_uri, read_stretch
from maskmill.schemas.errors import RunFailed
from maskmill.schemas.tables.columns import undescribed

BLOCK_NAME = "block-{:07d}.parquet"
COPY_BYTES = 8 << 20
SHARDS = "shards"
_BLOCK_FILE = re.compile(r"block-(\d{7,})\.parquet")
_REMEDY = "put back what was there, or choose another output folder"


@dataclass(frozen=True)
class RunLayout:
    """Paths relative to ``root``, a local folder or any pyarrow filesystem URI.

    ``metadata`` is the folder of the committed rows.
    """

    root: str
    metadata: str = "metadata"

    run_record = "run.json"
    manifest = "manifest/manifest.parquet"
    attempts = "work/attempts"
    scratch = "work/tmp"
    lock = "work/lock"

    @cached_property
    def _place(self) -> tuple[fs.FileSystem, str]:
        filesystem, path = resolve(self.root)
        return filesystem, path.rstrip("/")

    @property
    def filesystem(self) -> fs.FileSystem:
        """The filesystem that holds the run folder."""
        return self._place[0]

    @property
    def is_local(self) -> bool:
        """True where renames are atomic and locks belong to the operating system."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def path(self, relative: str) -> str:
        """Full path on :attr:`filesystem`."""
        return f"{self._place[1]}/{relative}" if relative else self._place[1]

    def local(self, relative: str) -> Path:
        """The same on this machine's disk, where :attr:`is_local`."""
        return Path(native(self.path(relative)))

    def block_path(self, block: int) -> str:
        """Where the rows of one block are committed, relative to the root."""
        return f"{self.metadata}/{BLOCK_NAME.format(block)}"

    def attempts_path(self, block: int) -> str:
        """Where the starts of one block are counted, relative to the root."""
        return f"{self.attempts}/{block:07d}.json"

    def exists(self, relative: str) -> bool:
        """True where a file or folder of that name is there."""
        return bool(self.filesystem.get_file_info(self.path(relative)).type != fs.FileType.NotFound)

    def uri(self, relative: str) -> str:
        """Path or URI of one file, be it in a shard, for :func:`read_bytes`."""
        shard = shard_of(relative)
        if shard is None:
            return join_uri(self.root, relative)
        return part_uri(join_uri(self.root, shard), stretch_of(relative))

    def read(self, relative: str) -> bytes:
        """The bytes of one file; in a shard only its own are fetched.

        Raises:
            FileNotFoundError: no such file.
        """
        shard = shard_of(relative)
        if shard is not None:
            return read_stretch(join_uri(self.root, shard), stretch_of(relative))
        place = bucket_place(self.filesystem, self.path(relative))
        if place is not None:  # one request, not two
            return place[0].read(place[1])
        with self.filesystem.open_input_stream(self.path(relative)) as stream:
            return bytes(stream.read())

    def write(self, relative: str, data: bytes | memoryview) -> None:
        """Put a file in place whole: readers see the old bytes or the new ones, never a part.

        Object stores show a file when its upload completes; on disks a rename does it.
        """
        if self.is_local:
            self._write_and_rename(relative, data)
            return
        place = bucket_place(self.filesystem, self.path(relative))
        if place is not None:
            place[0].write(place[1], data)
            return
        with self.filesystem.open_output_stream(self.path(relative)) as stream:
            stream.write(data)

    def _write_and_rename(self, relative: str, data: bytes | memoryview) -> None:
        temporary = self.local(f"{self.scratch}/{uuid.uuid4().hex}")
        target = self.local(relative)
        for attempt in (1, 2):  # the folders exist but for the first file in them
            try:
                temporary.write_bytes(data)
                temporary.replace(target)
                return
            except FileNotFoundError:
                if attempt == 2:
                    raise
                temporary.parent.mkdir(parents=True, exist_ok=True)
                target.parent.mkdir(parents=True, exist_ok=True)

    def write_stream(self, relative: str, stream: BinaryIO) -> None:
        """Like :meth:`write`, for what may be larger than memory."""
        if self.is_local:
            temporary = self.local(f"{self.scratch}/{uuid.uuid4().hex}")
            temporary.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as target:
                shutil.copyfileobj(stream, target, COPY_BYTES)
            target_path = self.local(relative)
            target_path.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(target_path)
            return
        place = bucket_place(self.filesystem, self.path(relative))
        if place is not None:
            place[0].write_stream(place[1], stream)
            return
        with self.filesystem.open_output_stream(self.path(relative)) as target:
            shutil.copyfileobj(stream, target, COPY_BYTES)

    def write_table(self, relative: str, table: pa.Table) -> None:
        """One Parquet file, in place whole."""
        sink = pa.BufferOutputStream()
        plain = table.cast(undescribed(table.schema))
        pq.write_table(plain, sink, compression="zstd")
        self.write(relative, memoryview(sink.getvalue()))

    def read_table(
        self, relative: str, columns: list[str] | None = None, *, remedy: str = _REMEDY
    ) -> pa.Table:
        """One Parquet file.

        Args:
            relative: which one.
            columns: those that are needed; None for all.
            remedy: what to do about a file that is torn.

        Raises:
            FileNotFoundError: no such file.
            RunFailed: it is no readable Parquet, or lacks a column.
        """
        with self._told_if_torn(relative, remedy):
            if bucket_place(self.filesystem, "") is not None:  # one request, not four
                return pq.read_table(pa.BufferReader(self.read(relative)), columns=columns)
            return pq.read_table(
                self.path(relative), columns=columns, filesystem=self.filesystem, partitioning=None
            )

    @contextmanager
    def open_parquet(self, relative: str) -> Iterator[pq.ParquetFile]:
        """One Parquet file, to be read row group by row group.

        Raises:
            FileNotFoundError: no such file.
            RunFailed: it is no readable Parquet.
        """
        with (
            self._told_if_torn(relative, _REMEDY),
            self.filesystem.open_input_file(self.path(relative)) as stream,
        ):
            yield pq.ParquetFile(stream)

    @contextmanager
    def _told_if_torn(self, relative: str, remedy: str) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and (type(error) is not OSError or error.errno):
                raise  # the disk or the network, not what the file holds
            raise self._torn(relative, error, remedy) from error

    def _torn(self, relative: str, error: Exception, remedy: str) -> RunFailed:
        size = self.filesystem.get_file_info(self.path(relative)).size
        reason = str(error).partition("\n")[0]
        return RunFailed(
            f"{self.path(relative)} cannot be read as Parquet ({size or 0:,} bytes): {reason}; "
            f"{remedy}"
        )

    def delete(self, relative: str) -> None:
        """Remove a file if it is there."""
        place = bucket_place(self.filesystem, self.path(relative))
        if place is not None:
            place[0].delete([place[1]])
        elif self.exists(relative):
            self.filesystem.delete_file(self.path(relative))

    def clear(self, relative: str) -> None:
        """Remove a folder of ours with everything in it, if it is there."""
        if self.exists(relative):
            with suppress(FileNotFoundError):  # on GCS it was only what lay in it, and is gone
                self.filesystem.delete_dir(self.path(relative))

    def committed_blocks(self) -> list[int]:
        """Numbers of the blocks whose rows are on disk, ascending."""
        return sorted(self.committed_stamps())

    def committed_stamps(self) -> dict[int, str]:
        """Number of every committed block -> size and time of change of its file."""
        selector = fs.FileSelector(self.path(self.metadata), allow_not_found=True)
        infos = infos_of(self.filesystem, selector)
        found = ((info, _BLOCK_FILE.fullmatch(info.base_name)) for info in infos)
        return {int(match[1]): f"{info.size} {info.mtime_ns}" for info, match in found if match}

    def committed_rows(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The committed rows, one table per block, in block order (= image_id order).

        Raises:
            RunFailed: a block file that is not readable Parquet, or of another schema.
        """
        for block in self.committed_blocks():
            yield self.committed_block(block, columns)

    def committed_block(self, block: int, columns: list[str] | None = None) -> pa.Table:
        """The rows of one committed block, in image_id order."""
        remedy = "delete it and run the same command again: its images are done anew"
        return self.read_table(self.block_path(block), columns, remedy=remedy)


def place_in_shard(shard: str, stretch: Stretch) -> str:
    """What rows say of a file in a shard in place of a path: ``SHARD!/OFFSET+LENGTH/NAME``."""
    return f"{shard}!/{stretch}"


def shard_of(relative: str) -> str | None:
    """The shard, relative to the run folder, of a place in one; None for a file of its own."""
    return relative.partition("!/")[0] if relative.startswith(f"{SHARDS}/") else None


def stretch_of(relative: str) -> Stretch:
    """Where the bytes lie in the shard of such a place."""
    return parse_stretch(relative.partition("!/")[2])
