"""Videos among pictures: every frame that is taken is an entry of its own, ``clip.mp4/000123``.

The number in the key counts the frames of the video in the order they are shown, from 0.
"""

from collections.abc import Iterator

from maskmill.pipeline.pictures.frame_place import FramePlace, whole_video_uri
from maskmill.pipeline.pictures.names import VIDEO_EXTENSIONS, extension_of
from maskmill.pipeline.sources.entries import LazyListing, SourceEntry, SourceRequest, Tally
from maskmill.pipeline.sources.frame_choice import FrameChoice
from maskmill.pipeline.sources.one_file import list_one_file
from maskmill.schemas.errors import FileFailure, SettingsError

_DIGITS = 6


def list_video(request: SourceRequest, tally: Tally) -> LazyListing:
    """The frames of one video, whatever its extension; its folder is the root.

    Raises:
        SettingsError: it cannot be read as a video, or no video is asked for here.
    """
    if request.frames is None:
        raise SettingsError(f"{request.source} is a video, and pictures are wanted here")
    listing = list_one_file(request, tally)
    (entry,) = listing.entries
    try:
        frames = list(_frames(entry, request.frames, tally))
    except FileFailure as failure:
        raise SettingsError(str(failure)) from failure
    return LazyListing(listing.root, iter(frames))


def with_frames(
    entries: Iterator[SourceEntry], request: SourceRequest, tally: Tally
) -> Iterator[SourceEntry]:
    """The entries with each video replaced by its frames; one that cannot be read stays as it is.

    Reading that one gives a failed row that says why.
    """
    for entry in entries:
        if request.frames is None or extension_of(entry.key) not in VIDEO_EXTENSIONS:
            yield entry
            continue
        try:
            yield from _frames(entry, request.frames, tally)
        except FileFailure as failure:
            tally.notes.append(str(failure))
            yield SourceEntry(entry.key, whole_video_uri(entry.uri), entry.size)


def _frames(entry: SourceEntry, choice: FrameChoice, tally: Tally) -> Iterator[SourceEntry]:
    from maskmill.pipeline.pictures.timeline import scan_video  # FFmpeg, for videos only

    tally.videos += 1
    timeline = scan_video(entry.uri)
    indexes = choice.taken([timeline.seconds(index) for index in range(len(timeline))])
    tally.notes += timeline.notes
    if len(indexes) < len(timeline):
        last = float(timeline.seconds(len(timeline) - 1))
        end = "" if indexes else f"; the last one is shown at {last:.3f} s"
        told = f"{len(indexes):,} of {len(timeline):,} frames are taken{end}"
        tally.notes.append(f"{entry.key}: {told}")
    digits = max(_DIGITS, len(str(len(timeline) - 1)))
    for index in indexes:
        place = FramePlace(
            entry.uri,
            index,
            timeline.pts[index],
            timeline.pts[0],
            timeline.time_base,
            timeline.counted,
        )
        yield SourceEntry(f"{entry.key}/{index:0{digits}d}", place.uri, timeline.sizes[index])
