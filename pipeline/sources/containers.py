"""Files that hold many pictures: which ones to open, and the URI of a picture inside one.

``zip:///data/photos.zip!/a/b%20c.jpg``: scheme, path or URI of the container, ``!/``, the place
inside; both parts quoted, so that a ``!`` in a name is no end.
"""

import posixpath
from collections.abc import Iterator
from typing import IO, cast
from urllib.parse import quote, unquote

from pipeline.filesystems import join_uri, local_path, resolve
from pipeline.sources.entries import SourceRequest, Tally
from pipeline.sources.glob_pattern import has_wildcard, matches, split_pattern
from schemas.errors import SettingsError


def container_root(request: SourceRequest) -> str:
    """Where the keys start: the container itself, or the fixed prefix of a glob of containers."""
    return split_pattern(request.source)[0] if _is_glob(request) else request.source


def container_files(request: SourceRequest, tally: Tally) -> Iterator[tuple[str, str]]:
    """(prefix of the keys, path or URI) of each container, in the order of their names.

    One container gives keys as they are inside; a glob of them puts each one's own path before.
    """
    if not _is_glob(request):
        path = local_path(request.source)
        yield "", request.source if path is None else path
        return
    root, _ = split_pattern(request.source)
    for key, _ in sorted(matches(request.source, exclude=request.exclude, tally=tally)):
        yield posixpath.splitext(key)[0] + "/", join_uri(root, key)


def member_uri(scheme: str, container: str, inner: str) -> str:
    """The URI of a picture inside a container."""
    return f"{scheme}://{quote(container, safe='/:')}!/{quote(inner)}"


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


def _is_glob(request: SourceRequest) -> bool:
    filesystem, path = resolve(request.source)
    missing = filesystem.get_file_info(path).type.name == "NotFound"
    return missing and has_wildcard(request.source)
