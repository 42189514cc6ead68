"""One video opened: its first track of moving pictures, one thread, only demuxers that we know.

PyAV brings FFmpeg. Playlists and scripts, which would open other files, are not among the demuxers.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, Final

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from maskmill.pipeline.storage.members import open_container
from maskmill.schemas.errors import ErrorCode, ImageFailure

DEMUXERS: Final = "mov,matroska,avi,mpegts,mpeg,asf,flv,ogg"
"""Container formats that are read, by FFmpeg's names."""

_BUFFER = 1 << 18
_DECODER = {"err_detect": "explode"}  # a picture that was patched up is no picture


@dataclass(slots=True)
class VideoFile:
    """A video at its beginning. ``extra`` are further video tracks, which are not read."""

    name: str
    container: InputContainer
    stream: VideoStream
    extra: int

    def close(self) -> None:
        """Let the file go."""
        self.container.close()


def open_video(name: str) -> VideoFile:
    """A video by path or URI.

    Raises:
        ImageFailure: NOT_AN_IMAGE without moving pictures, CORRUPT.
        OSError: it is missing or cannot be read, now or when its packets are.
    """
    stream = _OnceFailing(open_container(name))
    with _typed(name):
        container: Any = av.open(
            stream,
            options={"format_whitelist": DEMUXERS},
            metadata_errors="replace",
            buffer_size=_BUFFER,
        )
    tracks = [one for one in container.streams.video if not _is_cover(one)]
    if not tracks:
        kinds = ", ".join(sorted({str(one.type) for one in container.streams})) or "nothing"
        container.close()
        raise ImageFailure(
            ErrorCode.NOT_AN_IMAGE,
            f"{name} has no moving pictures, only {kinds}; leave it out of the source",
        )
    track = tracks[0]
    if track.codec_context is None:
        container.close()
        raise ImageFailure(
            ErrorCode.NOT_AN_IMAGE,
            f"{name}: there is no decoder for its pictures; encode it again as H.264",
        )
    track.thread_type = "NONE"  # one thread decides what damage does, and others have cores too
    track.codec_context.thread_count = 1
    track.codec_context.options = dict(_DECODER)
    return VideoFile(name, container, track, len(tracks) - 1)


class _OnceFailing:
    """A stream that ends where it failed: FFmpeg reads on, and each time would be as long again.

    PyAV raises the error once FFmpeg has come back.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._has_failed = False
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        """Up to so many bytes; none after an error."""
        if self._has_failed:
            return b""
        try:
            return self._stream.read(size)
        except BaseException:
            self._has_failed = True
            raise


@contextmanager
def opened_video(name: str) -> Iterator[VideoFile]:
    """:func:`open_video` for the length of a block."""
    video = open_video(name)
    try:
        yield video
    finally:
        video.close()


def packets_of(video: VideoFile) -> Iterator[Any]:
    """The packets of the track from where the file stands; where it breaks off, they end.

    The last one is empty: it empties the decoder.
    """
    with suppress(av.FFmpegError):
        yield from video.container.demux(video.stream)


def _is_cover(track: VideoStream) -> bool:
    return bool(track.disposition & Disposition.attached_pic)


@contextmanager
def _typed(name: str) -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageFailure(
            ErrorCode.CORRUPT,
            f"{name} cannot be opened as a video: {reason}; fetch or copy it again, or encode it "
            "again as MP4",
        ) from error
