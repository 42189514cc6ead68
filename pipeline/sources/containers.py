"""Files that hold many pictures: which ones to open."""

import posixpath
from collections.abc import Iterator

from maskmill.pipeline.sources.entries import SourceRequest, Tally
from maskmill.pipeline.sources.glob_pattern import has_wildcard, matches, split_pattern
from maskmill.pipeline.storage.filesystems import join_uri, local_path, resolve


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


def _is_glob(request: SourceRequest) -> bool:
    filesystem, path = resolve(request.source)
    missing = filesystem.get_file_info(path).type.name == "NotFound"
    return missing and has_wildcard(request.source)
