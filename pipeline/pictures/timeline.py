"""Which frames a video has, and when each is shown: by its packets, nothing is decoded.

Packets are stored in the order they are decoded in; sorted by presentation time they are the
frames in the order they are shown, which is how FFmpeg's ``select`` filter and CVAT count them.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from maskmill.pipeline.pictures.video_file import VideoFile, opened_video, packets_of
from maskmill.pipeline.storage.filesystems import failure_of
from maskmill.pipeline.storage.retries import StorageTrouble
from maskmill.schemas.errors import ErrorCode, ImageFailure

_USUAL_RATE = Fraction(25)
_SHOWN_BIT = 0x10  # RFC 6386 section 9.1: show_frame of a VP8 frame


@dataclass(frozen=True, slots=True)
class Timeline:
    """Frames in the order they are shown, from 0.

    ``pts`` are presentation times in units of ``time_base`` seconds, ascending, ``sizes`` encoded
    bytes. ``counted``: the file gives no time for each frame, so a frame is known by its number
    only, and ``pts`` are the places the file keeps for frames, in order.
    """

    pts: tuple[int, ...]
    sizes: tuple[int, ...]
    time_base: Fraction
    counted: bool
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pts)

    def seconds(self, index: int) -> Fraction:
        """When a frame is shown, counted from the first one."""
        return (self.pts[index] - self.pts[0]) * self.time_base


def scan_video(name: str) -> Timeline:
    """The timeline of a video by path or URI; the file is read once from end to end.

    Raises:
        ImageFailure: it is missing or cannot be read, has no moving pictures, or no frame at all.
        StorageTrouble: a store that failed after every retry: that says nothing of the video.
    """
    try:
        return _scanned(name)
    except StorageTrouble:
        raise
    except OSError as error:
        raise failure_of(name, error) from error


def _scanned(name: str) -> Timeline:
    with opened_video(name) as video:
        codec = video.stream.codec_context.name
        packets = [
            (packet.pts, packet.dts, packet.size)
            for packet in packets_of(video)
            if packet.size and not packet.is_discard and _is_shown(codec, packet)
        ]
        if not packets:
            raise ImageFailure(
                ErrorCode.CORRUPT, f"{name} holds not one frame; fetch or copy it again"
            )
        notes = _notes(video, len(packets))
        if _has_times(video, packets):
            shown = sorted((pts, size) for pts, _, size in packets)
            base, counted = Fraction(video.stream.time_base or 1), False
        else:
            shown, base = _places(video, packets)
            counted = True
    times, sizes = zip(*shown, strict=True)
    return Timeline(times, sizes, base, counted, notes)


def _has_times(video: VideoFile, packets: list[Any]) -> bool:
    """Whether each frame has a time of its own. AVI has none: what FFmpeg gives is guessed."""
    if video.container.format.name == "avi":
        return False
    times = {pts for pts, _, _ in packets}
    return None not in times and len(times) == len(packets)


def _places(video: VideoFile, packets: list[Any]) -> tuple[list[tuple[int, int]], Fraction]:
    """Frames by number at the times of their packets; at a steady rate where these lack, too."""
    sizes = [size for _, _, size in packets]
    times = [dts for _, dts, _ in packets]
    if None not in times and len(set(times)) == len(times):
        pairs = zip(sorted(times), sizes, strict=True)
        return list(pairs), Fraction(video.stream.time_base or 1)
    rate = Fraction(video.stream.average_rate or video.stream.guessed_rate or _USUAL_RATE)
    return list(enumerate(sizes)), 1 / rate


def _is_shown(codec: str, packet: Any) -> bool:
    """VP8 stores frames that are only referred to in packets of their own."""
    return codec != "vp8" or bool(bytes(packet)[0] & _SHOWN_BIT)


def _notes(video: VideoFile, found: int) -> tuple[str, ...]:
    notes = []
    if video.stream.frames > found:
        notes.append(
            f"{video.name}: its header speaks of {video.stream.frames:,} frames and the file holds "
            f"{found:,}; the others are lost"
        )
    if video.extra:
        notes.append(f"{video.name}: the first of {video.extra + 1} video tracks is taken")
    return tuple(notes)
