"""Single frames of a video, by the URI that a listing gave them; read in order they cost least.

A frame fails where it, or one that it may be built on, did not decode: decoders would show the
remains of other pictures there. What a frame looks like does not depend on where reading began.
"""

import os
import threading
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.filter import Graph

from maskmill.pipeline.pictures.frame_place import FramePlace, place_of_frame
from maskmill.pipeline.pictures.orientation import orient
from maskmill.pipeline.pictures.video_file import open_video, packets_of
from maskmill.pipeline.storage.filesystems import refuse_beyond
from maskmill.pipeline.storage.members import container_state, split_member_uri
from maskmill.schemas.arrays import RgbImage
from maskmill.schemas.errors import ErrorCode, ImageFailure

_AHEAD = 10  # seconds that are decoded rather than jumped over
_BACK = (0, 1, 4, 16, 64)  # seconds before the frame where a key frame is looked for
_LATE = 16  # frames beyond the one looked for until it is given up: more than any codec reorders
_ORIENTATIONS = {  # signs of a, b, c, d in (x, y) -> (a x + c y, b x + d y), ISO/IEC 14496-12 6.2.2
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
_readers = threading.local()


def read_frame(uri: str, limit: int | None) -> bytes:
    """The frame as a PPM file: RGB, 8 bits per channel, turned as it is shown.

    Raises:
        ImageFailure: the video cannot be opened, or the frame does not decode; UNSAFE_SIZE.
        OSError: the video is missing.
    """
    place = place_of_frame(uri)
    if place is None:
        open_video(split_member_uri(uri)[0]).close()
        raise ImageFailure(
            ErrorCode.CORRUPT, f"{uri} had no frame when it was listed; list the source again"
        )
    reader = _reader(place.video)
    try:
        frame = reader.frame(place)
    except BaseException:
        _readers.held = None  # it may stand anywhere
        raise
    if isinstance(frame, ImageFailure):
        raise frame
    refuse_beyond(str(place), 3 * frame.width * frame.height, limit)
    pixels = orient(reader.rgb.convert(frame), _orientation_of(frame, str(place)))
    height, width = pixels.shape[:2]
    return b"P6 %d %d 255\n" % (width, height) + pixels.tobytes()


class RgbGraph:
    """FFmpeg's own way from a decoded frame to RGB: its filters, as its command has them."""

    def __init__(self) -> None:
        self._kind: tuple[Any, ...] = ()
        self._graph = Graph()

    def convert(self, frame: av.VideoFrame) -> RgbImage:
        """(H, W, 3) of a frame as it is stored, by its own colour space and range."""
        kind = (frame.format.name, frame.width, frame.height, frame.colorspace, frame.color_range)
        if kind != self._kind:
            self._kind, self._graph = kind, _rgb_graph(frame)
        self._graph.vpush(frame)
        pixels: RgbImage = self._graph.vpull().to_ndarray().astype(np.uint8, copy=False)
        return pixels


class FrameReader:
    """One open video, decoded forwards; it jumps where the next frame is not near."""

    def __init__(self, name: str) -> None:
        self.rgb = RgbGraph()
        self._video = open_video(name)
        self._decoded = self._decode(packets_of(self._video))
        self._last: int | None = None  # time of the frame that came last; its number where counted
        self._bad: set[int | None] = set()

    def close(self) -> None:
        """Let the file go."""
        self._video.close()

    def frame(self, place: FramePlace) -> "av.VideoFrame | ImageFailure":
        """The frame, or why there is none."""
        if place.counted:
            return self._nth(place)
        steps = _AHEAD / place.time_base
        if self._last is None or not self._last < place.pts <= self._last + steps:
            self._jump(place)
        found = self._by_time(place)
        if found is None and place.pts not in self._bad:  # its key frame may lie further back
            self._rewind()
            found = self._by_time(place)
        return found or _lost(place)

    def _by_time(self, place: FramePlace) -> "av.VideoFrame | None":
        late = 0
        while place.pts not in self._bad:
            frame = next(self._decoded, None)
            if frame is None or late == _LATE:
                return None
            if frame.pts is None:
                continue
            self._last = frame.pts
            if frame.pts == place.pts:
                return None if frame.is_corrupt or frame.pts in self._bad else frame
            late += frame.pts > place.pts
        return None

    def _nth(self, place: FramePlace) -> "av.VideoFrame | ImageFailure":
        """By counting, which damage puts an end to."""
        if self._last is not None and self._last >= place.index:
            self._rewind()
        for frame in self._decoded:
            self._last = 0 if self._last is None else self._last + 1
            if self._bad or frame.is_corrupt:
                break
            if self._last == place.index:
                return frame
        return _lost(place)

    def _jump(self, place: FramePlace) -> None:
        """To a key frame that is shown no later than the frame wanted, near it if there is one."""
        stream, container = self._video.stream, self._video.container
        for back in _BACK:
            target = place.pts - int(back / place.time_base)
            if target <= place.first:
                break
            try:
                container.seek(target, stream=stream, backward=True, any_frame=False)
            except av.FFmpegError:
                break
            packets = packets_of(self._video)
            key = next((one for one in packets if one.is_keyframe or not one.size), None)
            if key is not None and key.size and key.pts is not None and key.pts <= place.pts:
                self._decoded, self._last = self._decode(chain([key], packets)), None
                self._bad = set()
                return
        self._rewind()

    def _rewind(self) -> None:
        """To the beginning, by opening the file again: not every format finds its way back."""
        name = self._video.name
        self._video.close()
        self._video = open_video(name)
        self._decoded, self._last, self._bad = self._decode(packets_of(self._video)), None, set()

    def _decode(self, packets: Iterator[Any]) -> "Iterator[av.VideoFrame]":
        """Frames as they come out; ``_bad`` has the times of those that damage has touched."""
        is_lost, key_time = False, None
        for packet in packets:
            if packet.is_keyframe and packet.size:
                is_lost, key_time = False, packet.pts
            try:
                frames = packet.decode()
                is_damaged = packet.is_corrupt and bool(packet.size)
            except av.FFmpegError:
                frames, is_damaged = [], True
            if is_damaged or is_lost:
                self._bad.add(packet.pts)
            # Nothing is built on pictures that are shown before the key frame they follow.
            leads = None not in (packet.pts, key_time) and packet.pts < key_time
            is_lost = is_lost or (is_damaged and not leads)
            yield from frames


def _reader(name: str) -> FrameReader:
    """The video that this thread has open, if it is the one; else that is closed for the new."""
    key = (name, container_state(name), os.getpid())
    held: tuple[Any, FrameReader] | None = getattr(_readers, "held", None)
    if held is not None:
        if held[0] == key:
            return held[1]
        held[1].close()
        _readers.held = None
    reader = FrameReader(name)
    _readers.held = (key, reader)
    return reader


def _rgb_graph(frame: av.VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
    )
    to_rgb, sink = graph.add("format", "pix_fmts=rgb24"), graph.add("buffersink")
    source.link_to(to_rgb)
    to_rgb.link_to(sink)
    graph.configure()
    return graph


def _orientation_of(frame: av.VideoFrame, name: str) -> int:
    """The orientation 1..8 that the display matrix stands for; 1 where there is none."""
    side: Any
    for side in frame.side_data:
        if side.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = np.frombuffer(bytes(side), np.int32)[:5].tolist()
            return _quarters(np.array([a, b, c, d], np.float64), name)
    return 1


def _quarters(matrix: npt.NDArray[np.float64], name: str) -> int:
    scaled = matrix / max(1.0, float(np.abs(matrix).max()))
    signs: tuple[int, ...] = tuple(np.rint(scaled).astype(int).tolist())
    if np.abs(scaled - np.rint(scaled)).max() > 0.01 or signs not in _ORIENTATIONS:
        raise ImageFailure(
            ErrorCode.CORRUPT,
            f"{name} is to be shown turned by less than a quarter; encode the video again upright",
        )
    return _ORIENTATIONS[signs]


def _lost(place: FramePlace) -> ImageFailure:
    return ImageFailure(
        ErrorCode.CORRUPT,
        f"{place} does not decode: it, or a frame it is built on, is damaged or missing; repair "
        "the video or leave the frame out",
    )
