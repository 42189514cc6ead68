"""Writing videos: for the eye as H.264 in MP4, or lossless grey as FFV1 in Matroska.

Where FFmpeg was built without H.264's encoder, MPEG-4 takes its place. The same frames give the
same bytes: one thread, and no times of day or random numbers in the file.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO, Final

import av
import numpy as np
import numpy.typing as npt

_RATE = Fraction(25)
_MOST_UNITS = 65_535  # in a second, for MPEG-4 part 2
_FOR_EYES = ("libx264", "mpeg4")
_LOOKS: Final = {
    # The quick code of its macroblock tree reads numbers beside small pictures, and each file was
    # another; what does not depend on the CPU does not, and takes no longer.
    "libx264": {"preset": "veryfast", "crf": "20", "x264-params": "cpu-independent=1"},
    "mpeg4": {"qmin": "3", "qmax": "5"},
}


@dataclass(frozen=True, slots=True, eq=False)
class TimedFrame:
    """(H, W, 3) RGB or (H, W) grey ``pixels``, shown at ``seconds``."""

    pixels: npt.NDArray[Any]
    seconds: Fraction


def write_viewing(stream: BinaryIO, frames: Iterable[TimedFrame], time_base: Fraction) -> None:
    """An MP4 of RGB frames of one size, for the eye: colours are those of H.264.

    Sides of an odd number of pixels get one more, a copy of the last.
    """
    codec = next(name for name in _FOR_EYES if name in av.codecs_available)
    base = time_base
    if codec == "mpeg4" and base.denominator > _MOST_UNITS:
        base = Fraction(1, 1000)
    _write(stream, frames, "mp4", codec, "yuv420p", base)


def write_lossless(stream: BinaryIO, frames: Iterable[TimedFrame]) -> None:
    """A Matroska file of FFV1 whose grey levels, 8 or 16 bits, are the values of the frames.

    Times are kept to the millisecond, as Matroska does.
    """
    _write(stream, frames, "matroska", "ffv1", "", Fraction(1, 1000))


def _write(
    stream: BinaryIO,
    frames: Iterable[TimedFrame],
    file_format: str,
    codec: str,
    pixels: str,
    base: Fraction,
) -> None:
    options = {"fflags": "bitexact"}
    out: Any
    with av.open(stream, "w", format=file_format, container_options=options) as out:
        track: Any = None
        for frame in frames:
            if track is None:
                track = _track(out, codec, pixels or _grey_format(frame), frame, base)
            picture = _to_video_frame(frame)
            picture.pts, picture.time_base = round(frame.seconds / base), base
            out.mux(track.encode(picture))
        if track is not None:
            out.mux(track.encode(None))


def _track(out: Any, codec: str, pixels: str, frame: TimedFrame, base: Fraction) -> Any:
    track = out.add_stream(codec, rate=_RATE, options=_LOOKS.get(codec, {}))
    height, width = frame.pixels.shape[:2]
    is_halved = pixels == "yuv420p"
    track.width, track.height = (side + side % 2 * is_halved for side in (width, height))
    track.pix_fmt = pixels
    track.time_base = track.codec_context.time_base = base
    track.codec_context.thread_count = 1
    track.codec_context.flags |= av.codec.context.Flags.bitexact
    return track


def _grey_format(frame: TimedFrame) -> str:
    return "gray" if frame.pixels.dtype == np.uint8 else "gray16le"


def _to_video_frame(frame: TimedFrame) -> Any:
    pixels = frame.pixels
    if pixels.ndim == 2:
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), _grey_format(frame))
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24").reformat(
        format="yuv420p"
    )
