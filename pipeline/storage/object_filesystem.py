"""A bucket as a pyarrow filesystem, so that Parquet readers and Ray go through the same client.

Paths are ``bucket/key``. S3 has no folders: one is there as long as an object lies below it, so
creating one does nothing. Pickled, it is its URI: the other side signs in with its own settings.
"""

import io
import tempfile
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyarrow import fs

from maskmill.pipeline.storage.object_stream import ObjectStream
from maskmill.pipeline.storage.objects import Bucket, ObjectFacts, open_bucket

_SMALL_BYTES = 8 << 20  # files up to this are fetched whole at the first read
_WINDOW_BYTES = 1 << 20  # of larger ones at least this much
_SPOOL_BYTES = 16 << 20


class ObjectHandler(fs.FileSystemHandler):  # type: ignore[misc]
    """What pyarrow asks of a filesystem, answered by a :class:`Bucket`."""

    def __init__(self, authority: str, options: str) -> None:
        self._place = (authority, options)

    @property
    def bucket(self) -> Bucket:
        """The objects themselves; signed in anew after a fork, and in another environment."""
        return open_bucket(*self._place)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._place

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectHandler) and self._place == other._place

    def __hash__(self) -> int:
        return hash(self._place)

    def get_type_name(self) -> str:
        """As pyarrow's own calls itself."""
        return "s3"

    def normalize_path(self, path: str) -> str:
        """Paths stay as they are."""
        return path

    def key_of(self, path: str) -> str:
        """The key of ``bucket/key``."""
        return path.partition("/")[2].strip("/")

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        """File, folder, or nothing, for each path."""
        return [self._info(path) for path in paths]

    def _info(self, path: str) -> fs.FileInfo:
        key = self.key_of(path)
        try:
            if key:
                return _file_info(path, self.bucket.facts(key))
        except FileNotFoundError:
            pass
        there = self._has_below(key)
        return fs.FileInfo(path, fs.FileType.Directory if there else fs.FileType.NotFound)

    def _has_below(self, key: str) -> bool:
        try:
            return self.bucket.has_below(key) or not key
        except FileNotFoundError:  # no such bucket
            return False

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        """Every object below a folder; folders too where only the folder itself is listed."""
        return list(self.infos(selector))

    def infos(self, selector: fs.FileSelector) -> Iterator[fs.FileInfo]:
        """The same, one after the other: some thousands are held at a time."""
        prefix, is_empty = self.key_of(selector.base_dir), True
        for info in self._listed(prefix, recursive=selector.recursive):
            is_empty = False
            yield info
        if is_empty and not selector.allow_not_found and not self._has_below(prefix):
            raise FileNotFoundError(2, f"there is no folder {selector.base_dir}")

    def _listed(self, prefix: str, *, recursive: bool) -> Iterator[fs.FileInfo]:
        name = self.bucket.settings.bucket
        if recursive:
            for facts in self.bucket.list_all(prefix):
                yield _file_info(f"{name}/{facts.key}", facts)
            return
        folders, objects = self.bucket.list_folder(prefix)
        for folder in folders:
            yield fs.FileInfo(f"{name}/{folder}", fs.FileType.Directory)
        for facts in objects:
            yield _file_info(f"{name}/{facts.key}", facts)

    def create_dir(self, path: str, recursive: bool) -> None:
        """Nothing to do."""

    def delete_dir(self, path: str) -> None:
        """Remove every object below a folder."""
        prefix = self.key_of(path)
        if not prefix:
            raise OSError(22, f"{path} is a bucket; only folders in it are removed")
        # a marker of the folder itself is listed under the folder's own name
        keys = [facts.key for facts in self.bucket.list_all(prefix)]
        for start in range(0, len(keys), 1000):
            self.bucket.delete(keys[start : start + 1000])

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """The same: an empty folder is none."""
        self.delete_dir(path)

    def delete_root_dir_contents(self) -> None:
        """Never."""
        raise OSError(22, "a whole bucket is not emptied")

    def delete_file(self, path: str) -> None:
        """Remove one object."""
        self.bucket.delete([self.key_of(path)])

    def move(self, src: str, dest: str) -> None:
        """Never needed: files are written where they belong."""
        raise NotImplementedError("objects are not moved")

    def copy_file(self, src: str, dest: str) -> None:
        """One object, through this process."""
        self.bucket.write(self.key_of(dest), self.bucket.read(self.key_of(src)))

    def open_input_file(self, path: str) -> pa.NativeFile:
        """One object for reading at any place; one request where it is small."""
        key = self.key_of(path)
        size = self.bucket.facts(key).size
        if size <= _SMALL_BYTES:
            return pa.BufferReader(self.bucket.read(key))
        ranges = _Ranges(self.bucket, key, size)
        return pa.PythonFile(io.BufferedReader(ranges, _WINDOW_BYTES), mode="r")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """The same, from the start."""
        return self.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """A file that appears, whole, when it is closed."""
        return pa.PythonFile(_Upload(self.bucket, self.key_of(path)), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """Never: objects are whole."""
        raise NotImplementedError("objects are not appended to")


class _Ranges(ObjectStream):
    """A large object, read part by part."""

    def readinto(self, buffer: Any) -> int:
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        data = self._bucket.read_range(self._key, self._position, end)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


class _Upload(io.RawIOBase):
    """What is written, kept until it is closed and then sent whole."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket, self._key = bucket, key
        self._spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._spool.write(data)

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        with self._spool:
            self._spool.seek(0)
            self._bucket.write_stream(self._key, self._spool)  # type: ignore[arg-type]


def _file_info(path: str, facts: ObjectFacts) -> fs.FileInfo:
    return fs.FileInfo(path, fs.FileType.File, size=facts.size, mtime=facts.modified)
