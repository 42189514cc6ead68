"""The objects of one S3 bucket: whole reads, reads of a part, writes, conditional writes, lists.

Every operation insists (see ``retries``). A write is one request up to ``PIECE_BYTES``; beyond
that the pieces of a multipart upload. Errors are ``OSError``s, as of a disk.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar

from maskmill.pipeline.storage.object_client import as_os_error, open_store, refuse_fork
from maskmill.pipeline.storage.retries import Persistence
from maskmill.pipeline.storage.s3_settings import S3Settings, environment_key, s3_settings

if TYPE_CHECKING:
    from obstore.store import S3Store

PIECE_BYTES: Final = 8 << 20
_PIECES_AT_ONCE: Final = 4
_PIECE_RETRIES: Final = 20  # of one piece of a large upload, inside obstore
_LIST_CHUNK: Final = 1000
_STREAM_CHUNK: Final = 1 << 20

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """One object: key, size in bytes, version tag, time of the last write by the store's clock."""

    key: str
    size: int
    tag: str | None
    modified: datetime


@dataclass(frozen=True)
class Bucket:
    """The objects of one bucket. Safe to use from many threads; not across a fork."""

    settings: S3Settings

    @cached_property
    def _persistence(self) -> Persistence:
        return Persistence(self.settings.patience)

    @cached_property
    def _store(self) -> "S3Store":
        """Without retries of its own: ours are counted."""
        return open_store(self.settings, 0)

    def read(self, key: str, refuse: Callable[[int], None] | None = None) -> bytes:
        """Every byte of one object, in one request.

        Args:
            key: below the bucket.
            refuse: is told the size in bytes before the bytes are fetched, and may raise.
        """
        import obstore

        def get() -> bytes:
            result = obstore.get(self._store, key)
            if refuse is not None:
                refuse(result.meta["size"])
            return bytes(result.bytes())

        return self._insist(key, get)

    def fetch(self, key: str) -> tuple[ObjectFacts, bytes]:
        """Facts and bytes of one version of an object."""
        import obstore

        def get() -> tuple[ObjectFacts, bytes]:
            result = obstore.get(self._store, key)
            return _facts(result.meta), bytes(result.bytes())

        return self._insist(key, get)

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes ``start`` to ``end`` (exclusive), fewer at the end of the object."""
        import obstore

        return self._insist(
            key, lambda: bytes(obstore.get_range(self._store, key, start=start, end=end))
        )

    def read_on(self, key: str, start: int) -> Iterator[bytes]:
        """Bytes ``start`` to the end of one object, piece by piece as they come, in one request.

        One that breaks off is followed by another, from where the pieces ended.
        """
        import obstore

        pieces: Iterator[Any] | None = None

        def next_piece() -> bytes:
            nonlocal pieces
            try:
                if pieces is None:
                    options: Any = {"range": {"offset": start}}
                    answer = obstore.get(self._store, key, options=options)
                    pieces = iter(answer.stream(min_chunk_size=_STREAM_CHUNK))
                return bytes(next(pieces, b""))
            except Exception:
                pieces = None
                raise

        while piece := self._insist(key, next_piece):
            start += len(piece)
            yield piece

    def facts(self, key: str) -> ObjectFacts:
        """Size, tag and time of one object."""
        import obstore

        return _facts(self._insist(key, lambda: obstore.head(self._store, key)))

    def write(self, key: str, data: bytes | memoryview) -> None:
        """Put an object in place whole, over whatever is there."""
        import obstore

        data = memoryview(data).cast("B")
        if len(data) > PIECE_BYTES:
            self._insist(key, lambda: self._write_pieces(key, data))
        else:
            self._insist(key, lambda: obstore.put(self._store, key, data, use_multipart=False))

    def write_stream(self, key: str, stream: BinaryIO) -> None:
        """Like :meth:`write`, for what may be larger than memory."""
        head = stream.read(PIECE_BYTES + 1)
        if len(head) <= PIECE_BYTES:
            self.write(key, head)
            return
        start = stream.tell() - len(head) if stream.seekable() else None

        def upload() -> None:
            if start is not None:
                stream.seek(start)
            self._write_pieces(key, stream if start is not None else _chained(head, stream))

        # what cannot be rewound is tried once; its pieces are retried all the same
        self._insist(key, upload, persistent=start is not None)

    def create(self, key: str, data: bytes) -> str | None:
        """Write where nothing is; gives the tag.

        Sent once more after a broken connection, the store may refuse what it took the first time:
        look whether the bytes there are yours.

        Raises:
            FileExistsError: something is there.
            ConditionsUnsupported: the store cannot do it.
        """
        return self._put_if(key, data, "create")

    def replace(self, key: str, data: bytes, tag: str | None) -> str | None:
        """Write over the version ``tag`` and no other; gives the new tag.

        Raises:
            Changed: another version is there, or nothing.
            ConditionsUnsupported: the store cannot do it.
        """
        return self._put_if(key, data, {"e_tag": tag})

    def delete(self, keys: list[str]) -> None:
        """Remove objects, as far as they are there."""
        import obstore

        if keys:
            self._insist(keys[0], lambda: obstore.delete(self._store, keys))

    def list_all(self, prefix: str) -> Iterator[ObjectFacts]:
        """Every object below a folder (``''`` for the bucket), in the order of keys."""
        offset: str | None = None
        held: ObjectFacts | None = None  # an empty object may be the marker of a folder
        while True:
            chunk = self._insist(prefix, partial(self._first, prefix, offset, _LIST_CHUNK))
            for found in map(_facts, chunk):
                if held is not None and not found.key.startswith(held.key + "/"):
                    yield held
                held = None if found.size else found
                if found.size:
                    yield found
            if len(chunk) < _LIST_CHUNK:
                break
            offset = chunk[-1]["path"]
        if held is not None and held.key != prefix:
            yield held

    def list_folder(self, prefix: str) -> tuple[list[str], list[ObjectFacts]]:
        """(folders, objects) that lie directly in a folder (``''`` for the bucket)."""
        import obstore

        listing = self._insist(
            prefix, lambda: obstore.list_with_delimiter(self._store, prefix or None)
        )
        folders = [str(folder) for folder in listing["common_prefixes"]]
        markers = {prefix, *folders}
        found = [_facts(facts) for facts in listing["objects"]]
        return folders, [facts for facts in found if facts.size or facts.key not in markers]

    def has_below(self, prefix: str) -> bool:
        """True where an object lies below a folder."""
        return bool(self._insist(prefix, partial(self._first, prefix, None, 1)))

    def _first(self, prefix: str, offset: str | None, count: int) -> list[Any]:
        """Up to ``count`` objects below a folder, after the key ``offset``."""
        import obstore

        stream = obstore.list(self._store, prefix or None, offset=offset, chunk_size=count)
        return list(next(iter(stream), []))

    def _write_pieces(self, key: str, data: Any) -> None:
        import obstore

        # obstore repeats a piece; a repeat of the whole would never end on a bad day
        obstore.put(
            open_store(self.settings, _PIECE_RETRIES),
            key,
            data,
            chunk_size=PIECE_BYTES,
            max_concurrency=_PIECES_AT_ONCE,
        )

    def _put_if(self, key: str, data: bytes, mode: Any) -> str | None:
        import obstore

        return self._insist(key, lambda: obstore.put(self._store, key, data, mode=mode))["e_tag"]

    def _insist(
        self, key: str, operation: Callable[[], Result], *, persistent: bool = True
    ) -> Result:
        refuse_fork()
        try:
            return self._persistence.insist(operation) if persistent else operation()
        except Exception as error:
            translated = as_os_error(error, f"s3://{self.settings.bucket}/{key}")
            if translated is None:
                raise
            raise translated from error


def open_bucket(authority: str, options: str) -> Bucket:
    """The bucket of an S3 URI; one per URI, process and environment.

    Raises:
        SettingsError: see ``s3_settings``.
    """
    return _open_bucket(authority, options, environment_key(), os.getpid())


@lru_cache(maxsize=64)
def _open_bucket(authority: str, options: str, environment: int, process: int) -> Bucket:
    return Bucket(s3_settings(authority, options))


def _facts(meta: Any) -> ObjectFacts:
    return ObjectFacts(meta["path"], meta["size"], meta["e_tag"], meta["last_modified"])


def _chained(head: bytes, stream: BinaryIO) -> Iterator[bytes]:
    yield head
    while data := stream.read(PIECE_BYTES):
        yield data
