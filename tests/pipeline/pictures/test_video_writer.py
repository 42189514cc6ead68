"""Videos for the eye, with FFmpeg's H.264 and where it was built without."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from maskmill.pipeline.pictures.video_writer import TimedFrame, write_viewing
from tests.video_clips import NUM_FRAMES, drawn_frame

COLORS = [(200, 40, 40), (40, 160, 60), (60, 60, 200), (128, 128, 128)]
TIMES = [Fraction(0), Fraction(1, 25), Fraction(3, 10), Fraction(2)]


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_the_same_frames_are_the_same_bytes_each_time(monkeypatch, codec):
    """Kills: an encoder that reads what lies beside the picture in memory."""
    if codec not in av.codecs_available:
        pytest.skip("this FFmpeg has no encoder for H.264")
    monkeypatch.setattr(av, "codecs_available", {codec})
    found = set()
    for _ in range(12):
        stream = io.BytesIO()
        frames = (TimedFrame(drawn_frame(n), Fraction(n, 25)) for n in range(NUM_FRAMES))
        write_viewing(stream, frames, Fraction(1, 12800))
        found.add(stream.getvalue())
    assert len(found) == 1


def written(time_base: Fraction) -> io.BytesIO:
    """Four frames of one colour each, 46x30."""
    frames = [
        TimedFrame(np.full((30, 46, 3), color, np.uint8), seconds)
        for color, seconds in zip(COLORS, TIMES, strict=True)
    ]
    stream = io.BytesIO()
    write_viewing(stream, iter(frames), time_base)
    return stream


@pytest.mark.parametrize("time_base", [Fraction(1, 12800), Fraction(1, 90_000)])
@pytest.mark.parametrize("codec", ["h264", "mpeg4"])
def test_frames_have_their_times_and_colours(monkeypatch, codec, time_base):
    """MPEG-4 counts at most 65,535 units a second: finer times are kept to the millisecond."""
    if codec == "mpeg4":
        monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    elif "libx264" not in av.codecs_available:
        pytest.skip("this FFmpeg has no encoder for H.264")
    stream = written(time_base)
    with av.open(io.BytesIO(stream.getvalue())) as opened:
        assert opened.streams.video[0].codec_context.name == codec
        frames = list(opened.decode(video=0))
    assert len(frames) == len(TIMES)
    for frame, seconds, color in zip(frames, TIMES, COLORS, strict=True):
        assert abs(frame.pts * frame.time_base - seconds) <= Fraction(1, 1000)
        seen = frame.to_ndarray(format="rgb24").reshape(-1, 3).mean(0)
        assert np.abs(seen - color).max() < 12
    assert written(time_base).getvalue() == stream.getvalue()
