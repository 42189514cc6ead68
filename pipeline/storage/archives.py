"""Zip and tar files read without trust: names, links, sizes and ratios are checked first."""

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Final, TypeVar

from maskmill.pipeline.storage.retries import StorageTrouble
from maskmill.schemas.errors import ArchiveFailure, ErrorCode

MEBIBYTE: Final = 1 << 20
Entry = TypeVar("Entry", zipfile.ZipInfo, tarfile.TarInfo)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """What an archive may declare before it is refused. Bytes are unpacked bytes."""

    members: int = 5_000_000
    member_bytes: int = 8 << 30
    total_bytes: int = 1 << 42
    ratio: int = 300  # unpacked ÷ packed, looked at only for members above ``ratio_from_bytes``
    ratio_from_bytes: int = 64 * MEBIBYTE


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """One regular file of an archive: posix name, unpacked size in bytes.

    ``offset``: where its bytes begin in the archive, where they lie there as they are.
    """

    name: str
    size: int
    offset: int | None = None


class ZipArchive:
    """The regular files of a zip. Opening checks every member; nothing is unpacked to disk.

    Raises:
        ArchiveFailure: not a zip, or a member that is unsafe (see :func:`safe_member_name`),
            a link, encrypted, repeated, or larger than the limits.
    """

    def __init__(self, file: IO[bytes], name: str, limits: ArchiveLimits | None = None) -> None:
        self.name = name
        try:
            self._zip = zipfile.ZipFile(file)
            entries = self._zip.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            _raise_of_storage(error)
            raise ArchiveFailure(
                ErrorCode.CORRUPT, f"{name} is not a readable zip file: {error}; fetch it again"
            ) from error
        self._limits = limits or ArchiveLimits()
        files = [entry for entry in entries if not entry.is_dir()]
        for entry in files:
            _check_zip_entry(entry, name, self._limits)
        self._entries: Mapping[str, zipfile.ZipInfo] = _unique(
            ((safe_member_name(_zip_name(entry), name), entry) for entry in files), name
        )
        _check_totals(name, [entry.file_size for entry in files], self._limits)

    def members(self) -> list[ArchiveMember]:
        """Every regular file, sorted by name."""
        return [ArchiveMember(key, self._entries[key].file_size) for key in sorted(self._entries)]

    def has(self, member: str) -> bool:
        """True where the archive has that regular file."""
        return member in self._entries

    def read(self, member: str) -> bytes:
        """The unpacked bytes of one member; never more than it declared.

        Raises:
            ArchiveFailure: no such member, or its bytes are damaged.
        """
        entry = self._entries.get(member)
        if entry is None:
            raise _no_member(self.name, member)
        try:
            with self._zip.open(entry) as stream:
                data = stream.read(entry.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
            _raise_of_storage(error)
            raise ArchiveFailure(
                ErrorCode.CORRUPT, f"{self.name}: member {member!r} is damaged: {error}"
            ) from error
        return _exactly(data, entry.file_size, self.name, member)


class TarArchive:
    """The regular files of an uncompressed tar, checked when opened; links and devices are refused.

    Raises:
        ArchiveFailure: not an uncompressed tar, or an unsafe, repeated or too large member.
    """

    def __init__(self, file: IO[bytes], name: str, limits: ArchiveLimits | None = None) -> None:
        self.name = name
        try:
            self._tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - kept open
            entries = self._tar.getmembers()
        except (tarfile.TarError, OSError, ValueError) as error:
            _raise_of_storage(error)
            raise ArchiveFailure(
                ErrorCode.CORRUPT,
                f"{name} is not a plain tar file: {error}; unpack compressed tars first",
            ) from error
        limits = limits or ArchiveLimits()
        files = [entry for entry in entries if not entry.isdir()]
        for entry in files:
            _check_tar_entry(entry, name, limits)
        self._entries: Mapping[str, tarfile.TarInfo] = _unique(
            ((safe_member_name(entry.name, name), entry) for entry in files), name
        )
        _check_totals(name, [entry.size for entry in files], limits)

    def members(self) -> list[ArchiveMember]:
        """Every regular file, sorted by name."""
        entries = sorted(self._entries.items())
        return [ArchiveMember(key, entry.size, entry.offset_data) for key, entry in entries]

    def has(self, member: str) -> bool:
        """True where the archive has that regular file."""
        return member in self._entries

    def read(self, member: str) -> bytes:
        """The bytes of one member.

        Raises:
            ArchiveFailure: no such member, or the tar ends inside it.
        """
        entry = self._entries.get(member)
        stream = None if entry is None else self._tar.extractfile(entry)
        if entry is None or stream is None:
            raise _no_member(self.name, member)
        return _exactly(stream.read(), entry.size, self.name, member)


def safe_member_name(member: str, archive: str) -> str:
    """The posix name of a member, refused where unpacking it could leave the folder.

    Raises:
        ArchiveFailure: absolute, with a drive letter, with ``..``, a NUL, or empty.
    """
    name = member.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    drive = len(parts) > 0 and len(parts[0]) == 2 and parts[0][1] == ":" and parts[0][0].isalpha()
    if name.startswith("/") or ".." in parts or "\0" in name or drive or not parts:
        raise ArchiveFailure(
            ErrorCode.UNSAFE_PATH,
            f"{archive}: member {member!r} points outside the archive; it is refused as unsafe",
        )
    return "/".join(parts)


def _raise_of_storage(error: Exception) -> None:
    """What the place of an archive failed to give says nothing about the archive.

    `zipfile` calls a file whose end it could not read no zip file.
    """
    for one in (error, error.__context__):
        if isinstance(one, StorageTrouble | PermissionError | FileNotFoundError):
            raise one


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """The member's name. Without the flag for UTF-8 the standard says code page 437, yet macOS and
    Info-ZIP write UTF-8 there: bytes that are UTF-8 are read as that, which other text seldom is.
    """
    if entry.flag_bits & 0x800:
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename


def _check_zip_entry(entry: zipfile.ZipInfo, name: str, limits: ArchiveLimits) -> None:
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise _not_regular(name, entry.filename)
    if entry.flag_bits & 0x1:
        raise ArchiveFailure(
            ErrorCode.UNREADABLE,
            f"{name}: member {entry.filename!r} is encrypted; decrypt it first",
        )
    _check_size(name, entry.filename, entry.file_size, entry.compress_size, limits)


def _check_tar_entry(entry: tarfile.TarInfo, name: str, limits: ArchiveLimits) -> None:
    if not entry.isreg() or entry.issparse():  # a sparse entry declares bytes it does not carry
        raise _not_regular(name, entry.name)
    _check_size(name, entry.name, entry.size, entry.size, limits)


def _check_size(name: str, member: str, size: int, packed: int, limits: ArchiveLimits) -> None:
    too_dense = size > limits.ratio_from_bytes and size > limits.ratio * max(packed, 1)
    if size > limits.member_bytes or too_dense:
        raise ArchiveFailure(
            ErrorCode.UNSAFE_SIZE,
            f"{name}: member {member!r} declares {size:,} bytes from {packed:,} packed ones; "
            "refused as a possible bomb, unpack it yourself if you trust it",
        )


def _check_totals(name: str, sizes: list[int], limits: ArchiveLimits) -> None:
    if len(sizes) > limits.members or sum(sizes) > limits.total_bytes:
        raise ArchiveFailure(
            ErrorCode.UNSAFE_SIZE,
            f"{name} declares {len(sizes):,} files of {sum(sizes):,} bytes in all; "
            f"at most {limits.members:,} files and {limits.total_bytes:,} bytes are read",
        )


def _unique(pairs: Iterable[tuple[str, Entry]], name: str) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for member, entry in pairs:
        if member in found:
            raise ArchiveFailure(
                ErrorCode.UNSAFE_PATH,
                f"{name}: member {member!r} is there twice; readers would differ",
            )
        found[member] = entry
    return found


def _exactly(data: bytes, size: int, name: str, member: str) -> bytes:
    if len(data) != size:
        raise ArchiveFailure(
            ErrorCode.TRUNCATED,
            f"{name}: member {member!r} has {len(data):,} bytes, its header says {size:,}",
        )
    return data


def _not_regular(name: str, member: str) -> ArchiveFailure:
    return ArchiveFailure(
        ErrorCode.UNSAFE_LINK,
        f"{name}: member {member!r} is a link or a device, not a file; it is refused as unsafe",
    )


def _no_member(name: str, member: str) -> ArchiveFailure:
    return ArchiveFailure(ErrorCode.MISSING_IMAGE, f"{name} has no member {member!r}")
