"""Paths and URIs to pyarrow filesystems, and the bytes of one file.

A plain path is never read as a URI: blanks, ``%``, ``#``, ``?`` and letters of any script are
part of the name. Text that starts with ``scheme://`` is a URI and follows the rules of URIs:
``%20`` is a blank. Blanks, ``#`` and letters beyond ASCII are allowed in it for convenience;
``?`` starts the options of the filesystem (``s3://bucket/photos?region=eu-central-1``).

S3 is ours (``objects``, through obstore); every other scheme is pyarrow's. Neither botocore nor
obstore is imported before the first S3 URI.
"""

import errno
import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, BinaryIO, Final, cast
from urllib.parse import quote, unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from maskmill.schemas.errors import ErrorCode, ImageFailure, SettingsError

if TYPE_CHECKING:
    from maskmill.pipeline.storage.objects import Bucket

CHUNK: Final = 1 << 20

CONTAINERS: dict[str, str] = {
    "zip": "maskmill.pipeline.storage.archive_members:read_member",
    "tar": "maskmill.pipeline.storage.archive_members:read_member",
    "parquet": "maskmill.pipeline.storage.parquet_members:read_row",
    "video": "maskmill.pipeline.pictures.video_frames:read_frame",
    "part": "maskmill.pipeline.storage.parts:read_part",
}
"""URI scheme of a file inside another file -> who reads it: ``(uri, limit) -> bytes``."""

_S3_SCHEMES = ("s3", "s3a", "s3n")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_REMEDIES = {
    ErrorCode.VANISHED: "it was listed but is not there; put it back or list the source again",
    ErrorCode.PERMISSION_DENIED: "give this user the right to read it",
    ErrorCode.UNREADABLE: "check the disk or the connection, then run again with --retry-failed",
}
_NUL_IN_NAME = "no file has a NUL in its name; look for damage in what listed it"
_DENIED_WORDS = ("ACCESS_DENIED", "AccessDenied", "Forbidden", "HTTP status 403")


def is_uri(text: str | Path) -> bool:
    """True for text that starts with ``scheme://``; a ``Path`` is always a plain path."""
    return isinstance(text, str) and _SCHEME.match(text) is not None


def local_path(uri_or_path: str | Path) -> str | None:
    """The absolute local path of a plain path or a ``file://`` URI; None for anything remote.

    Bytes of a name that are not UTF-8 come back as surrogates, as ``os`` gives them.

    Raises:
        SettingsError: a NUL in the path, or a file URI that names a host.
    """
    if not is_uri(uri_or_path):
        return native(posixpath.abspath(_without_nul(str(uri_or_path))))
    parts = urlsplit(_quoted(str(uri_or_path)))
    if parts.scheme.lower() != "file":
        return None
    if parts.netloc not in ("", "localhost"):
        raise SettingsError(
            f"{uri_or_path}: a file URI has three slashes and an absolute path: "
            f"file:///{parts.netloc}{parts.path}"
        )
    return native(posixpath.abspath(_without_nul(unquote(parts.path, errors="surrogateescape"))))


def native(path: str) -> str:
    """A path as ``os`` spells it here: a Python set to ASCII wants surrogates for other letters."""
    return os.fsdecode(path.encode("utf-8", "surrogateescape"))


def resolve(uri_or_path: str | Path) -> tuple[fs.FileSystem, str]:
    """The filesystem of a path or URI, and the path as that filesystem spells it.

    Raises:
        SettingsError: a scheme that pyarrow does not know, options it does not take, a NUL in the
            path, a local path that is not UTF-8, or credentials that cannot be had.
    """
    path = local_path(uri_or_path)
    if path is not None:
        return fs.LocalFileSystem(), _as_utf8(path)
    parts = urlsplit(_quoted(str(uri_or_path)))
    filesystem, base = _remote(parts.scheme.lower(), parts.netloc, parts.query)
    inner = _without_nul(unquote(parts.path)).strip("/")
    if not inner or not base:
        return filesystem, inner or base
    return filesystem, f"{base.rstrip('/')}/{inner}"


def bucket_place(filesystem: fs.FileSystem, path: str) -> "tuple[Bucket, str] | None":
    """(bucket, key) of a path that ``resolve`` gave; None where it is not on S3."""
    if not isinstance(filesystem, fs.PyFileSystem):
        return None
    from maskmill.pipeline.storage.object_filesystem import ObjectHandler

    handler = filesystem.handler
    return (handler.bucket, handler.key_of(path)) if isinstance(handler, ObjectHandler) else None


def infos_of(filesystem: fs.FileSystem, selector: fs.FileSelector) -> Iterator[fs.FileInfo]:
    """As ``get_file_info`` of a selector, in no order; those of buckets and disks are not held."""
    if bucket_place(filesystem, selector.base_dir) is not None:
        return filesystem.handler.infos(selector)  # type: ignore[no-any-return]
    if selector.recursive and isinstance(filesystem, fs.LocalFileSystem):
        return _infos_below(filesystem, selector)
    return iter(filesystem.get_file_info(selector))


def _infos_below(filesystem: fs.FileSystem, selector: fs.FileSelector) -> Iterator[fs.FileInfo]:
    folders = [selector.base_dir]
    while folders:
        one = fs.FileSelector(folders.pop(), allow_not_found=selector.allow_not_found)
        for info in filesystem.get_file_info(one):
            yield info
            if info.type == fs.FileType.Directory:
                folders.append(info.path)


def join_uri(root: str, key: str) -> str:
    """The URI or path of the file ``key`` (posix, relative) below ``root``.

    Local roots give plain paths. A local name that is not UTF-8 gives a ``file://`` URI, which
    can be stored where the path cannot.
    """
    if is_uri(root) and local_path(root) is None:
        head, _, options = _quoted(root).partition("?")
        return f"{head.rstrip('/')}/{quote(key)}" + (f"?{options}" if options else "")
    path = posixpath.join(local_path(root) or "", key)
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "file://" + quote(os.fsencode(path))
    return path


def read_bytes(uri: str, *, limit: int | None = None) -> bytes:
    """Every byte of one file, local, remote or inside a container.

    Args:
        uri: what a source listed: a plain path, a URI, or a member of a container.
        limit: the largest size in bytes that is read; None for no limit.

    Raises:
        ImageFailure: VANISHED, PERMISSION_DENIED, UNREADABLE, or UNSAFE_SIZE beyond ``limit``.
        ArchiveFailure: a member that is unsafe or broken.
    """
    scheme = uri.partition("://")[0]
    if "\0" in (unquote(uri) if is_uri(uri) else uri) and scheme not in CONTAINERS:
        raise ImageFailure(ErrorCode.UNSAFE_PATH, f"{uri!r}: {_NUL_IN_NAME}")
    try:
        if scheme in CONTAINERS and is_uri(uri):
            return _container_reader(scheme)(uri, limit)
        path = local_path(uri)
        return _read_local(uri, path, limit) if path is not None else _read_remote(uri, limit)
    except MemoryError as error:
        raise ImageFailure(ErrorCode.OUT_OF_MEMORY, f"{uri}: no memory for the file") from error
    except OSError as error:
        raise failure_of(uri, error) from error


def read_chunks(uri: str) -> Iterator[bytes]:
    """The bytes of one file, local or remote, up to ``CHUNK`` at a time: for what is not held.

    Raises:
        ImageFailure: VANISHED, PERMISSION_DENIED or UNREADABLE, at the first chunk or later.
    """
    try:
        with _opened(uri) as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    except OSError as error:
        raise failure_of(uri, error) from error


def reason_of(error: OSError) -> str:
    """What an error of a file system says, without its number."""
    return error.strerror or str(error)


def _read_local(uri: str, path: str, limit: int | None) -> bytes:
    with _open_local(path) as stream:
        refuse_beyond(uri, os.fstat(stream.fileno()).st_size, limit)
        return stream.read()


def _open_local(path: str) -> BinaryIO:
    # O_NONBLOCK: opening a named pipe must not wait for a writer that never comes.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    stream = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "not a regular file")
    return stream


def _opened(uri: str) -> BinaryIO:
    path = local_path(uri)
    if path is not None:
        return _open_local(path)
    filesystem, inner = resolve(uri)
    return cast(BinaryIO, filesystem.open_input_file(inner))


def _read_remote(uri: str, limit: int | None) -> bytes:
    filesystem, path = resolve(uri)
    place = bucket_place(filesystem, path)
    if place is not None:  # one request
        bucket, key = place
        return bucket.read(key, refuse=lambda size: refuse_beyond(uri, size, limit))
    with filesystem.open_input_file(path) as stream:
        refuse_beyond(uri, stream.size(), limit)
        return bytes(stream.read())


def refuse_beyond(name: str, size: int, limit: int | None) -> None:
    """Refuse a file of ``size`` bytes when that is more than ``limit``.

    Raises:
        ImageFailure: UNSAFE_SIZE.
    """
    if limit is not None and size > limit:
        raise ImageFailure(
            ErrorCode.UNSAFE_SIZE,
            f"{name}: {size:,} bytes, more than the {limit:,} allowed for one file",
        )


def failure_of(uri: str, error: OSError) -> ImageFailure:
    """An error of a file system as that of a file: VANISHED, PERMISSION_DENIED or UNREADABLE."""
    code = _code_of(error)
    return ImageFailure(code, f"{uri}: {reason_of(error)}; {_REMEDIES[code]}")


def _code_of(error: OSError) -> ErrorCode:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ErrorCode.VANISHED
    if isinstance(error, PermissionError) or any(word in str(error) for word in _DENIED_WORDS):
        return ErrorCode.PERMISSION_DENIED
    return ErrorCode.UNREADABLE


def _without_nul(path: str) -> str:
    if "\0" in path:
        raise SettingsError(f"{path!r}: {_NUL_IN_NAME}")
    return path


def _as_utf8(path: str) -> str:
    try:
        return path.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path!r}: the name is not UTF-8, which tables and documents cannot hold; rename it"
        ) from error


def _quoted(uri: str) -> str:
    """The URI with everything quoted that a URI may not hold, and nothing quoted twice."""
    head, mark, options = uri.partition("?")
    scheme, _, rest = head.partition("://")
    rest = _LONE_PERCENT.sub("%25", rest)
    return f"{scheme}://{quote(rest, safe='/%:@!$&()*+,;=~')}{mark}{options}"


@lru_cache(maxsize=64)
def _remote(scheme: str, authority: str, options: str) -> tuple[fs.FileSystem, str]:
    """The filesystem and the path of its root; connections are kept, one per root and process."""
    if scheme in _S3_SCHEMES:
        from maskmill.pipeline.storage.object_filesystem import ObjectHandler

        handler = ObjectHandler(authority, options)
        return fs.PyFileSystem(handler), handler.bucket.settings.bucket
    uri = f"{scheme}://{authority}" + (f"?{options}" if options else "")
    try:
        filesystem, base = fs.FileSystem.from_uri(uri)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise SettingsError(
            f"{uri}: {error}; give a local path or a URI such as s3://bucket/folder"
        ) from error
    return filesystem, base


@lru_cache(maxsize=8)
def _container_reader(scheme: str) -> Callable[[str, int | None], bytes]:
    reader: Callable[[str, int | None], bytes] = resolve_name(CONTAINERS[scheme])
    return reader
