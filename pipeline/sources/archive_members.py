"""Pictures inside zip and tar files, WebDataset shards among them; nothing is unpacked to disk.

An archive with an unsafe member (a path that leads out, a link, a bomb) is refused as a whole.
"""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import IO

from pipeline.archives import TarArchive, ZipArchive
from pipeline.filesystems import local_path, refuse_beyond
from pipeline.sources.containers import (
    container_files,
    container_root,
    member_uri,
    open_container,
    split_member_uri,
)
from pipeline.sources.entries import (
    LazyListing,
    SourceEntry,
    SourceRequest,
    Tally,
    is_hidden,
    is_image_name,
)
from schemas.errors import ArchiveFailure, ErrorCode

_OPENERS: dict[str, Callable[[IO[bytes], str], ZipArchive | TarArchive]] = {
    "zip": ZipArchive,
    "tar": TarArchive,
}


@dataclass(frozen=True)
class _OpenArchive:
    """One archive kept open; its stream has one position, hence the lock."""

    archive: ZipArchive | TarArchive
    sizes: dict[str, int]
    lock: threading.Lock = field(default_factory=threading.Lock)


def list_archive(scheme: str, request: SourceRequest, tally: Tally) -> LazyListing:
    """Every picture, by extension, in one archive or a glob of them.

    Raises:
        ArchiveFailure: an archive is broken or unsafe (while iterating).
    """
    return LazyListing(container_root(request), _pictures(scheme, request, tally))


list_zip = partial(list_archive, "zip")
list_tar = partial(list_archive, "tar")


def read_member(uri: str, limit: int | None) -> bytes:
    """The bytes of one member, by the URI of its entry.

    Raises:
        ArchiveFailure: the member is missing or damaged, or the archive unsafe.
        ImageFailure: UNSAFE_SIZE, more than ``limit`` bytes.
        OSError: the archive is missing or cannot be read.
    """
    container, member = split_member_uri(uri)
    opened = _open(uri.partition("://")[0], container, _state(container), os.getpid())
    if member not in opened.sizes:
        raise ArchiveFailure(ErrorCode.VANISHED, f"{container} no longer holds {member!r}")
    refuse_beyond(uri, opened.sizes[member], limit)
    with opened.lock:
        return opened.archive.read(member)


def _pictures(scheme: str, request: SourceRequest, tally: Tally) -> Iterator[SourceEntry]:
    for prefix, container in container_files(request, tally):
        opened = _open(scheme, container, _state(container), os.getpid())
        for name, size in opened.sizes.items():
            if is_hidden(name):
                tally.not_considered["hidden"] += 1
            elif is_image_name(name, tally):
                yield SourceEntry(prefix + name, member_uri(scheme, container, name), size)


def _state(container: str) -> tuple[int, int] | None:
    """What changes when a local archive is replaced."""
    path = local_path(container)
    if path is None:
        return None
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4)
def _open(scheme: str, container: str, state: object, process: int) -> _OpenArchive:
    # ``process`` because a forked child would share the stream's position with its parent.
    archive = _OPENERS[scheme](open_container(container), container)
    return _OpenArchive(archive, {member.name: member.size for member in archive.members()})
