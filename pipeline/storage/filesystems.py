"""Paths and URIs to pyarrow filesystems, and the bytes of one file.

A plain path is never read as a URI: blanks, ``%``, ``#``, ``?`` and letters of any script are
part of the name. Text that starts with ``scheme://`` is a URI and follows the rules of URIs:
``%20`` is a blank. Blanks, ``#`` and letters beyond ASCII are allowed in it for convenience;
``?`` starts the options of the filesystem (``s3://bucket/photos?region=eu-central-1``).
"""

import errno
import os
import posixpath
import re
import stat
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from pkgutil import resolve_name
from urllib.parse import quote, unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from maskmill.schemas.errors import ErrorCode, ImageFailure, SettingsError

CONTAINERS: dict[str, str] = {
    "zip": "maskmill.pipeline.storage.archive_members:read_member",
    "tar": "maskmill.pipeline.storage.archive_members:read_member",
    "parquet": "maskmill.pipeline.storage.parquet_members:read_row",
}
"""URI scheme of a file inside another file -> who reads it: ``(uri, limit) -> bytes``."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_REMEDIES = {
    ErrorCode.VANISHED: "it was listed but is not there; put it back or list the source again",
    ErrorCode.PERMISSION_DENIED: "give this user the right to read it",
    ErrorCode.UNREADABLE: "check the disk or the connection, then run again with --retry-failed",
}
_DENIED_WORDS = ("ACCESS_DENIED", "AccessDenied", "Forbidden", "HTTP status 403")


def is_uri(text: str | Path) -> bool:
    """True for text that starts with ``scheme://``; a ``Path`` is always a plain path."""
    return isinstance(text, str) and _SCHEME.match(text) is not None


def local_path(uri_or_path: str | Path) -> str | None:
    """The absolute local path of a plain path or a ``file://`` URI; None for anything remote.

    Bytes of a name that are not UTF-8 come back as surrogates, as ``os`` gives them.
    """
    if not is_uri(uri_or_path):
        return posixpath.abspath(uri_or_path)
    parts = urlsplit(_quoted(str(uri_or_path)))
    if parts.scheme.lower() != "file":
        return None
    if parts.netloc not in ("", "localhost"):
        raise SettingsError(
            f"{uri_or_path}: a file URI has three slashes and an absolute path: "
            f"file:///{parts.netloc}{parts.path}"
        )
    return posixpath.abspath(unquote(parts.path, errors="surrogateescape"))


def resolve(uri_or_path: str | Path) -> tuple[fs.FileSystem, str]:
    """The filesystem of a path or URI, and the path as that filesystem spells it.

    Raises:
        SettingsError: a scheme that pyarrow does not know, or options it does not take.
    """
    path = local_path(uri_or_path)
    if path is not None:
        return fs.LocalFileSystem(), path
    parts = urlsplit(_quoted(str(uri_or_path)))
    filesystem, base = _remote(parts.scheme, parts.netloc, parts.query)
    inner = unquote(parts.path).strip("/")
    if not inner or not base:
        return filesystem, inner or base
    return filesystem, f"{base.rstrip('/')}/{inner}"


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
    try:
        if scheme in CONTAINERS and is_uri(uri):
            return _container_reader(scheme)(uri, limit)
        path = local_path(uri)
        return _read_local(uri, path, limit) if path is not None else _read_remote(uri, limit)
    except MemoryError as error:
        raise ImageFailure(ErrorCode.OUT_OF_MEMORY, f"{uri}: no memory for the file") from error
    except OSError as error:
        code = _code_of(error)
        reason = error.strerror or str(error)
        raise ImageFailure(code, f"{uri}: {reason}; {_REMEDIES[code]}") from error


def _read_local(uri: str, path: str, limit: int | None) -> bytes:
    # O_NONBLOCK: opening a named pipe must not wait for a writer that never comes.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        refuse_beyond(uri, status.st_size, limit)
        return stream.read()


def _read_remote(uri: str, limit: int | None) -> bytes:
    filesystem, path = resolve(uri)
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


def _code_of(error: OSError) -> ErrorCode:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ErrorCode.VANISHED
    if isinstance(error, PermissionError) or any(word in str(error) for word in _DENIED_WORDS):
        return ErrorCode.PERMISSION_DENIED
    return ErrorCode.UNREADABLE


def _quoted(uri: str) -> str:
    """The URI with everything quoted that a URI may not hold, and nothing quoted twice."""
    head, mark, options = uri.partition("?")
    scheme, _, rest = head.partition("://")
    rest = _LONE_PERCENT.sub("%25", rest)
    return f"{scheme}://{quote(rest, safe='/%:@!$&()*+,;=~')}{mark}{options}"


@lru_cache(maxsize=64)
def _remote(scheme: str, authority: str, options: str) -> tuple[fs.FileSystem, str]:
    """The filesystem and the path of its root; connections are kept, one per root and process."""
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
