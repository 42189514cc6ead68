"""One picture. It is taken whatever its extension; its folder is the root."""

from maskmill.pipeline.sources.entries import (
    LazyListing,
    SourceEntry,
    SourceRequest,
    Tally,
    storable,
)
from maskmill.pipeline.storage.filesystems import is_uri, local_path, resolve
from maskmill.schemas.errors import SettingsError


def list_one_file(request: SourceRequest, tally: Tally) -> LazyListing:
    """A work list of one entry.

    Raises:
        SettingsError: it is not a file.
    """
    filesystem, inner = resolve(request.source)
    info = filesystem.get_file_info(inner)
    if not info.is_file:
        raise SettingsError(f"{request.source} is not a file")
    path = local_path(request.source)
    source = path if path is not None and not is_uri(request.source) else request.source
    root, _, _ = source.partition("?")[0].rpartition("/")
    name = inner.rpartition("/")[2]
    return LazyListing(root or "/", iter([SourceEntry(storable(name), source, info.size)]))
