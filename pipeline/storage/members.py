"""Files inside files: the URI of one, and the container it lies in opened for reading.

``zip:///data/photos.zip!/a/b%20c.jpg``: scheme, path or URI of the container, ``!/``, the place
inside; both parts quoted, so that a ``!`` in a name is no end.
"""

from pathlib import Path
from typing import IO, cast
from urllib.parse import quote, unquote

from maskmill.pipeline.storage.filesystems import CONTAINERS, local_path, resolve
from maskmill.schemas.errors import SettingsError


def member_uri(scheme: str, container: str, inner: str) -> str:
    """The URI of a picture inside a container."""
    return f"{scheme}://{quote(container, safe='/:')}!/{quote(inner)}"


def is_member(uri: str) -> bool:
    """Whether a URI names a file inside a container: normalising it would lose its ``!/``."""
    return uri.partition("://")[0] in CONTAINERS and "!/" in uri


def split_member_uri(uri: str) -> tuple[str, str]:
    """(container, place inside) of what ``member_uri`` made.

    Raises:
        SettingsError: there is no ``!/`` in it.
    """
    container, mark, inner = uri.partition("://")[2].partition("!/")
    if not mark:
        raise SettingsError(f"{uri} names no file inside a container: it needs a !/")
    return unquote(container), unquote(inner)


def open_container(container: str) -> IO[bytes]:
    """The container for reading at any place.

    Raises:
        OSError: it is missing or cannot be read.
    """
    filesystem, path = resolve(container)
    return cast(IO[bytes], filesystem.open_input_file(path))


def container_state(container: str) -> tuple[int, int] | None:
    """What changes when a local container is replaced: bytes and time; None for a remote one.

    Raises:
        OSError: it is missing.
    """
    path = local_path(container)
    if path is None:
        return None
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns
