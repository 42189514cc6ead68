"""A stretch of bytes of a larger file, read by itself: one file of a tar whose place is known.

``part:///data/run/shards/block.tar!/1536+20480/a.mask.png``: the container, then where the bytes
begin and how many there are, then a name for people. Nothing else of the container is read.
"""

from typing import NamedTuple

from maskmill.pipeline.storage.filesystems import bucket_place, refuse_beyond, resolve
from maskmill.pipeline.storage.members import member_uri, split_member_uri
from maskmill.schemas.errors import ArchiveFailure, ErrorCode, SettingsError

SCHEME = "part"


class Stretch(NamedTuple):
    """Where bytes lie in a container, and what they are called there."""

    offset: int
    length: int
    name: str

    def __str__(self) -> str:
        return f"{self.offset}+{self.length}/{self.name}"


def parse_stretch(text: str) -> Stretch:
    """What ``str`` of a stretch gave.

    Raises:
        SettingsError: it is none.
    """
    place, _, name = text.partition("/")
    offset, mark, length = place.partition("+")
    if not (mark and offset.isdecimal() and length.isdecimal()):
        raise SettingsError(f"{text!r} is no stretch of bytes: OFFSET+LENGTH/NAME")
    return Stretch(int(offset), int(length), name)


def part_uri(container: str, stretch: Stretch) -> str:
    """The URI of a stretch of a container (path or URI)."""
    return member_uri(SCHEME, container, str(stretch))


def read_part(uri: str, limit: int | None) -> bytes:
    """The bytes of a stretch, by its URI; one request on S3.

    Raises:
        ArchiveFailure: TRUNCATED, the container ends before it.
        ImageFailure: UNSAFE_SIZE, more than ``limit`` bytes.
        OSError: the container is missing or cannot be read.
    """
    container, inner = split_member_uri(uri)
    stretch = parse_stretch(inner)
    refuse_beyond(uri, stretch.length, limit)
    data = read_stretch(container, stretch)
    if len(data) != stretch.length:
        raise ArchiveFailure(
            ErrorCode.TRUNCATED,
            f"{container}: {stretch.name} has {len(data):,} of its {stretch.length:,} bytes",
        )
    return data


def read_stretch(container: str, stretch: Stretch) -> bytes:
    """The bytes of a stretch of a path or URI, fewer where the file ends before.

    Raises:
        OSError: the container is missing or cannot be read.
    """
    filesystem, path = resolve(container)
    end = stretch.offset + stretch.length
    place = bucket_place(filesystem, path)
    if place is not None:
        bucket, key = place
        return bucket.read_range(key, stretch.offset, end) if stretch.length else b""
    with filesystem.open_input_file(path) as stream:
        return bytes(stream.read_at(stretch.length, stretch.offset))
