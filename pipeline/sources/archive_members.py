"""Pictures inside zip and tar files, WebDataset shards among them; nothing is unpacked to disk.

Videos in there are not read, which is said with the remedy. An archive with an unsafe member (a
path that leads out, a link, a bomb) is refused as a whole.
"""

from collections.abc import Iterator
from functools import partial

from maskmill.pipeline.pictures.names import VIDEO_EXTENSIONS, extension_of, is_hidden
from maskmill.pipeline.sources.containers import container_files, container_root
from maskmill.pipeline.sources.entries import (
    LazyListing,
    SourceEntry,
    SourceRequest,
    Tally,
    is_image_name,
)
from maskmill.pipeline.storage.archive_members import open_archive, place_of
from maskmill.schemas.text import count_of


def list_archive(scheme: str, request: SourceRequest, tally: Tally) -> LazyListing:
    """Every picture, by extension, in one archive or a glob of them.

    Raises:
        ArchiveFailure: an archive is broken or unsafe (while iterating).
    """
    return LazyListing(container_root(request), _pictures(scheme, request, tally))


list_zip = partial(list_archive, "zip")
list_tar = partial(list_archive, "tar")


def _pictures(scheme: str, request: SourceRequest, tally: Tally) -> Iterator[SourceEntry]:
    videos: list[str] = []
    for prefix, container in container_files(request, tally):
        for member in open_archive(scheme, container).archive.members():
            if extension_of(member.name) in VIDEO_EXTENSIONS and not is_hidden(member.name):
                videos.append(prefix + member.name)
            if is_hidden(member.name):
                tally.not_considered["hidden"] += 1
            elif is_image_name(member.name, tally):
                uri = place_of(scheme, container, member)
                yield SourceEntry(prefix + member.name, uri, member.size)
    if videos and request.frames is not None:
        many = count_of(len(videos), "video inside an archive is", "videos inside archives are")
        tally.notes.append(
            f"{many} not read ({videos[0]}{', …' * bool(videos[1:])}): unpack them into a folder "
            "and give that as the source"
        )
