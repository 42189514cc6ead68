"""Pictures inside zip and tar files, WebDataset shards among them; nothing is unpacked to disk.

An archive with an unsafe member (a path that leads out, a link, a bomb) is refused as a whole.
"""

from collections.abc import Iterator
from functools import partial

from maskmill.pipeline.sources.containers import container_files, container_root
from maskmill.pipeline.sources.entries import (
    LazyListing,
    SourceEntry,
    SourceRequest,
    Tally,
    is_hidden,
    is_image_name,
)
from maskmill.pipeline.storage.archive_members import open_archive
from maskmill.pipeline.storage.members import member_uri


def list_archive(scheme: str, request: SourceRequest, tally: Tally) -> LazyListing:
    """Every picture, by extension, in one archive or a glob of them.

    Raises:
        ArchiveFailure: an archive is broken or unsafe (while iterating).
    """
    return LazyListing(container_root(request), _pictures(scheme, request, tally))


list_zip = partial(list_archive, "zip")
list_tar = partial(list_archive, "tar")


def _pictures(scheme: str, request: SourceRequest, tally: Tally) -> Iterator[SourceEntry]:
    for prefix, container in container_files(request, tally):
        for name, size in open_archive(scheme, container).sizes.items():
            if is_hidden(name):
                tally.not_considered["hidden"] += 1
            elif is_image_name(name, tally):
                yield SourceEntry(prefix + name, member_uri(scheme, container, name), size)
