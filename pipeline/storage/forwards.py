"""A large object read once from front to end, by one request: how members of a tar are found."""

import io
from collections.abc import Iterator
from typing import Any, Final

from maskmill.pipeline.storage.object_stream import ObjectStream
from maskmill.pipeline.storage.objects import Bucket

SKIP_BYTES: Final = 16 << 20
"""What is passed over up to this is read along: a request of its own costs more."""
_BUFFER = 64 << 10


def open_forwards(bucket: Bucket, key: str) -> io.BufferedReader:
    """An object of a bucket for reading mostly forwards; steps back cost a request each.

    Raises:
        OSError: it is missing or cannot be read (here, and while reading).
    """
    return io.BufferedReader(_Forwards(bucket, key), _BUFFER)


class _Forwards(ObjectStream):
    def __init__(self, bucket: Bucket, key: str) -> None:
        super().__init__(bucket, key, bucket.facts(key).size)
        self._pieces: Iterator[bytes] = iter(())
        self._held, self._start = b"", 0  # the piece that came last, and where it begins

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._size:
            return 0
        self._come()
        begin = self._position - self._start
        data = self._held[begin : begin + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _come(self) -> None:
        """Hold the piece in which the position lies; an empty one behind an end that came early."""
        if not 0 <= self._position - self._start <= len(self._held) + SKIP_BYTES or not self._held:
            self._pieces = self._bucket.read_on(self._key, self._position)
            self._held, self._start = next(self._pieces, b""), self._position
        while self._held and self._position >= self._start + len(self._held):
            self._start += len(self._held)
            self._held = next(self._pieces, b"")
