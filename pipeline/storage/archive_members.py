"""The bytes of one member of a zip or tar file; nothing is unpacked to disk."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import IO

from maskmill.pipeline.storage.archives import ArchiveMember, TarArchive, ZipArchive
from maskmill.pipeline.storage.filesystems import (
    bucket_place,
    refuse_beyond,
    resolve,
)
from maskmill.pipeline.storage.members import (
    container_state,
    member_uri,
    open_container,
    split_member_uri,
)
from maskmill.pipeline.storage.parts import Stretch, part_uri
from maskmill.schemas.errors import ArchiveFailure, ErrorCode

_OPENERS: dict[str, Callable[[IO[bytes], str], ZipArchive | TarArchive]] = {
    "zip": ZipArchive,
    "tar": TarArchive,
}


@dataclass(frozen=True)
class OpenArchive:
    """One archive kept open; its stream has one position, hence the lock."""

    archive: ZipArchive | TarArchive
    sizes: dict[str, int]  # bytes by member, in the archive's order
    lock: threading.Lock = field(default_factory=threading.Lock)


def read_member(uri: str, limit: int | None) -> bytes:
    """The bytes of one member, by the URI of its entry.

    Raises:
        ArchiveFailure: the member is missing or damaged, or the archive unsafe.
        ImageFailure: UNSAFE_SIZE, more than ``limit`` bytes.
        OSError: the archive is missing or cannot be read.
    """
    container, member = split_member_uri(uri)
    opened = open_archive(uri.partition("://")[0], container)
    if member not in opened.sizes:
        raise ArchiveFailure(ErrorCode.VANISHED, f"{container} no longer holds {member!r}")
    refuse_beyond(uri, opened.sizes[member], limit)
    with opened.lock:
        return opened.archive.read(member)


def open_archive(scheme: str, container: str) -> OpenArchive:
    """An archive (``scheme`` zip or tar), opened once per process for as long as it is the same.

    Raises:
        ArchiveFailure: it is broken or unsafe.
        OSError: it is missing or cannot be read.
    """
    return _open(scheme, container, container_state(container), os.getpid())


@lru_cache(maxsize=4)
def _open(scheme: str, container: str, state: object, process: int) -> OpenArchive:
    # ``process`` because a forked child would share the stream's position with its parent.
    archive = _OPENERS[scheme](_stream_of(scheme, container), container)
    return OpenArchive(archive, {member.name: member.size for member in archive.members()})


def _stream_of(scheme: str, container: str) -> IO[bytes]:
    """Members of a tar are found by going through it: in a bucket, in one request for all."""
    place = bucket_place(*resolve(container)) if scheme == "tar" else None
    if place is None:
        return open_container(container)
    from maskmill.pipeline.storage.forwards import open_forwards  # remote storage only

    return open_forwards(*place)


def place_of(scheme: str, container: str, member: ArchiveMember) -> str:
    """The URI of a member; in a tar in a bucket that of its bytes: nobody lists the tar again."""
    filesystem, path = resolve(container)
    if member.offset is None or bucket_place(filesystem, path) is None:
        return member_uri(scheme, container, member.name)
    return part_uri(container, Stretch(member.offset, member.size, member.name))
