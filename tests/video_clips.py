"""Small video clips for tests, made by PyAV: every kind that people come with, sound and sick."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

NUM_FRAMES = 30
SIZE = (96, 64)  # width, height


def drawn_frame(number: int, size: tuple[int, int] = SIZE) -> npt.NDArray[np.uint8]:
    """(H, W, 3): a bar that says which frame it is by its place, over a slope and noise."""
    width, height = size
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[0:height, 0:width]
    picture = np.stack([rows * 2, columns, rows + columns], axis=2) % 200
    picture = picture + rng.integers(0, 12, picture.shape)
    left = number * 3 % max(1, width - 8)
    picture[:, left : left + 8] = (250, 20 + number * 7 % 200, 30)
    return picture.astype(np.uint8)


def write_clip(
    path: Path,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    size: tuple[int, int] = SIZE,
    stamps: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 12800),
    rate: int = 25,
    codec_options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    file_format: str | None = None,
    gop: int = 12,
    b_frames: int = 0,
) -> Path:
    """A clip of drawn frames; ``stamps`` are their presentation times in units of ``time_base``."""
    if stamps is None:
        step = int(1 / (rate * time_base))
        stamps = [number * step for number in range(NUM_FRAMES)]
    with av.open(
        str(path), "w", format=file_format, container_options=container_options or {}
    ) as out:
        stream = out.add_stream(codec, rate=rate, options=codec_options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.time_base = stream.codec_context.time_base = time_base
        stream.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.thread_count = 1
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(drawn_frame(number, size), format="rgb24")
            frame = frame.reformat(format=pixels)
            frame.pts, frame.time_base = stamp, time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def constant_rate(folder: Path) -> Path:
    return write_clip(folder / "constant.mp4")


def variable_rate(folder: Path) -> Path:
    steps = np.random.default_rng(3).integers(100, 2000, NUM_FRAMES)
    return write_clip(folder / "variable.mp4", stamps=np.cumsum(steps).tolist())


def with_b_frames(folder: Path) -> Path:
    options = {"bf": "3", "b_strategy": "0", "sc_threshold": "0"}
    return write_clip(folder / "bframes.mp4", codec_options=options, b_frames=3)


def open_groups(folder: Path) -> Path:
    """HEVC whose key frames have leading pictures: shown before them, stored after them."""
    options = {"x265-params": "open-gop=1:bframes=3:keyint=8:min-keyint=8:scenecut=0:pools=none:"
               "frame-threads=1:log-level=none"}  # fmt: skip
    return write_clip(folder / "opengop.mp4", codec="libx265", codec_options=options)


def rotated(folder: Path) -> Path:
    """Stored on its side: the matrix in the track header turns it by a quarter."""
    path = write_clip(folder / "rotated.mp4")
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # version 0: flags and times before the matrix
    one, quarter = 1 << 16, 1 << 30
    width = SIZE[1]
    matrix = (0, one, 0, -one, 0, 0, width * one, 0, quarter)
    data[place : place + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(data)
    return path


def four_two_two(folder: Path) -> Path:
    return write_clip(folder / "p422.mkv", pixels="yuv422p", b_frames=2)


def ten_bit(folder: Path) -> Path:
    options = {"x265-params": "log-level=none:pools=none:frame-threads=1"}
    path = folder / "tenbit.mp4"
    return write_clip(path, codec="libx265", pixels="yuv420p10le", codec_options=options)


def odd_size(folder: Path) -> Path:
    return write_clip(folder / "odd.mkv", pixels="yuv444p", size=(93, 61))


def no_index(folder: Path) -> Path:
    """Matroska as a camera streams it: no cues, no duration."""
    return write_clip(folder / "noindex.mkv", container_options={"live": "1"}, b_frames=2)


def fragmented(folder: Path) -> Path:
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    return write_clip(folder / "fragmented.mp4", container_options=options, b_frames=2)


def avi(folder: Path) -> Path:
    return write_clip(folder / "old.avi", codec="mpeg4", time_base=Fraction(1, 25))


def avi_b_frames(folder: Path) -> Path:
    return write_clip(folder / "oldb.avi", time_base=Fraction(1, 25), b_frames=2)


def transport(folder: Path) -> Path:
    return write_clip(folder / "stream.m2ts", file_format="mpegts", b_frames=2)


def webm(folder: Path) -> Path:
    options = {"auto-alt-ref": "1", "lag-in-frames": "8", "cpu-used": "8", "deadline": "good"}
    path = folder / "web.webm"
    return write_clip(path, codec="libvpx-vp9", codec_options=options, time_base=Fraction(1, 1000))


def hidden_frames(folder: Path) -> Path:
    """VP8 with frames that are stored to be referred to and never shown."""
    options = {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "4", "deadline": "good",
               "b": "60k"}  # fmt: skip
    path = folder / "hidden.webm"
    return write_clip(path, codec="libvpx", codec_options=options, time_base=Fraction(1, 1000))


def cut(folder: Path) -> Path:
    """An MP4 whose index stands in front and names frames that are no longer there."""
    path = write_clip(folder / "cut.mp4", container_options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    return path


def torn(folder: Path, first: int = 8) -> Path:
    """Bytes of frame 16 from the ``first`` on turned over; every tenth frame is a key frame."""
    path = write_clip(folder / "torn.mkv", gop=10, codec_options={"sc_threshold": "0"})
    with av.open(str(path)) as opened:
        packets = [packet for packet in opened.demux(video=0) if packet.size]
        payload = bytes(packets[16])
    data = bytearray(path.read_bytes())
    start = data.index(payload)
    data[start + first : start + len(payload)] = bytes(byte ^ 0x5A for byte in payload[first:])
    path.write_bytes(data)
    return path


def audio_only(folder: Path) -> Path:
    path = folder / "sound.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=44100, layout="mono")
        for number in range(20):
            samples = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, number * 1024
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


SOUND: dict[str, Callable[[Path], Path]] = {
    "constant": constant_rate,
    "variable": variable_rate,
    "b_frames": with_b_frames,
    "open_groups": open_groups,
    "rotated": rotated,
    "four_two_two": four_two_two,
    "ten_bit": ten_bit,
    "odd_size": odd_size,
    "no_index": no_index,
    "fragmented": fragmented,
    "avi": avi,
    "avi_b_frames": avi_b_frames,
    "transport": transport,
    "webm": webm,
    "hidden_frames": hidden_frames,
}
"""Clips of which every frame decodes."""
