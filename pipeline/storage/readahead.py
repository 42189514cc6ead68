"""Files that lie beside one another in a tar in a bucket, fetched by one request for many."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import Final

from maskmill.pipeline.storage.filesystems import bucket_place, read_bytes, refuse_beyond, resolve
from maskmill.pipeline.storage.members import split_member_uri
from maskmill.pipeline.storage.parts import SCHEME, Stretch, parse_stretch, read_stretch

SPAN_BYTES: Final = 32 << 20
"""The most that is fetched at once, and held until its last file has been read."""
GAP_BYTES: Final = 256 << 10
"""What lies between two files is fetched with them up to this: a request costs more."""

Read = Callable[[str, int | None], bytes]
"""(uri, limit) -> the bytes, as ``read_bytes``."""


def read_ahead(uris: Iterable[str]) -> Read:
    """Reads files that will be asked for in about this order, each of them once.

    Those that are stretches of one object in a bucket come by one request for up to
    ``SPAN_BYTES``; all others as by :func:`read_bytes`. Threads may read side by side.
    """
    spans = {uri: span for span in _spans(uris) for uri in span.stretches}

    def read(uri: str, limit: int | None) -> bytes:
        span = spans.get(uri)
        data = None if span is None else span.take(uri, limit)
        return read_bytes(uri, limit=limit) if data is None else data

    return read


@dataclass(slots=True)
class _Span:
    """Neighbouring stretches of one object, by URI, in the order of their bytes."""

    container: str
    stretches: dict[str, Stretch]
    data: bytes | None = None
    is_broken: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    start: int = field(init=False)
    end: int = field(init=False)

    def __post_init__(self) -> None:
        every = list(self.stretches.values())
        self.start, self.end = every[0].offset, every[-1].offset + every[-1].length

    def take(self, uri: str, limit: int | None) -> bytes | None:
        """The bytes of one; None where there are none to be had: whoever reads it alone says why.

        Raises:
            ImageFailure: UNSAFE_SIZE, more than ``limit`` bytes.
        """
        with self.lock:
            stretch = self.stretches.pop(uri, None)
            if stretch is None:
                return None
            refuse_beyond(uri, stretch.length, limit)
            data = self._fetched()
            if not self.stretches:
                self.data = None
        found = data[stretch.offset - self.start :][: stretch.length]
        return found if len(found) == stretch.length else None

    def _fetched(self) -> bytes:
        if self.data is None and not self.is_broken:
            try:
                whole = Stretch(self.start, self.end - self.start, "")
                self.data = read_stretch(self.container, whole)
            except OSError:
                self.is_broken = True
        return self.data or b""


def _spans(uris: Iterable[str]) -> Iterator[_Span]:
    places = [place for place in map(_place, uris) if place is not None]
    places.sort(key=lambda place: (place[0], place[1].offset))
    for container, group in groupby(places, key=lambda place: place[0]):
        together: dict[str, Stretch] = {}
        for _, stretch, uri in group:
            if together and not _is_near(list(together.values()), stretch):
                yield _Span(container, together)
                together = {}
            together[uri] = stretch
        yield _Span(container, together)


def _is_near(before: list[Stretch], stretch: Stretch) -> bool:
    first, last = before[0], before[-1]
    gap = stretch.offset - (last.offset + last.length)
    return gap <= GAP_BYTES and stretch.offset + stretch.length - first.offset <= SPAN_BYTES


def _place(uri: str) -> tuple[str, Stretch, str] | None:
    """(container, stretch, uri) of what one request may fetch with its neighbours."""
    if not uri.startswith(f"{SCHEME}://"):
        return None
    container, inner = split_member_uri(uri)
    return (container, parse_stretch(inner), uri) if _is_in_bucket(container) else None


@lru_cache(maxsize=16)
def _is_in_bucket(container: str) -> bool:
    filesystem, path = resolve(container)
    return bucket_place(filesystem, path) is not None
