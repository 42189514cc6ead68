"""Frames of videos against FFmpeg's own ``select`` filter, and what is said of damaged ones."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import InputContainer
from PIL import Image

from maskmill.pipeline.pictures.frame_place import FramePlace, place_of_frame
from maskmill.pipeline.pictures.timeline import Timeline, scan_video
from maskmill.pipeline.sources.frame_choice import FrameChoice
from maskmill.pipeline.sources.registry import list_source
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.errors import ErrorCode, ImageFailure
from tests.video_clips import NUM_FRAMES, SOUND, audio_only, cut, torn, write_clip


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {name: make(folder) for name, make in SOUND.items()}


def places_of(path: Path, timeline: Timeline) -> list[FramePlace]:
    first, base, counted = timeline.pts[0], timeline.time_base, timeline.counted
    return [
        FramePlace(str(path), index, pts, first, base, counted)
        for index, pts in enumerate(timeline.pts)
    ]


def hash_of(place: FramePlace) -> str:
    return hash_at(place.uri)


def hash_at(uri: str) -> str:
    picture = Image.open(io.BytesIO(read_bytes(uri)))
    return hashlib.sha256(np.asarray(picture).tobytes()).hexdigest()


def decoded(opened: InputContainer) -> Iterator[av.VideoFrame]:
    """What FFmpeg's decoder gives, as its command has it: what does not decode is passed over."""
    for packet in opened.demux(opened.streams.video[0]):
        with suppress(av.InvalidDataError):
            yield from packet.decode()


def selected(path: Path, expression: str, turn: str | None = None) -> list[str]:
    """Hashes of the frames that FFmpeg's select filter lets through, as RGB."""
    with av.open(str(path)) as opened:
        stream = opened.streams.video[0]
        steps = [("select", expression), *([("transpose", turn)] if turn else [])]
        graph = av.filter.Graph()
        last = graph.add_buffer(template=stream)
        for name, arguments in [*steps, ("format", "pix_fmts=rgb24"), ("buffersink", None)]:
            following = graph.add(name, arguments)
            last.link_to(following)
            last = following
        graph.configure()
        hashes = []
        for frame in [*decoded(opened), None]:
            graph.push(frame)
            while True:
                try:
                    found = graph.pull()
                except (av.BlockingIOError, av.EOFError):
                    break
                hashes.append(hashlib.sha256(found.to_ndarray().tobytes()).hexdigest())
    return hashes


@pytest.mark.parametrize("kind", SOUND)
@pytest.mark.parametrize("every", [1, 4])
def test_every_nth_frame_is_the_one_that_ffmpeg_selects(clips, kind, every) -> None:
    path = clips[kind]
    listing = list_source(str(path), frames=FrameChoice(every=every))
    numbers = [int(entry.key.rpartition("/")[2]) for entry in listing.entries]
    assert numbers == list(range(0, NUM_FRAMES, every))
    turn = "clock" if kind == "rotated" else None
    theirs = selected(path, f"not(mod(n\\,{every}))", turn)
    assert len(set(theirs)) == len(theirs), "the clip cannot tell its frames apart"
    assert [hash_at(entry.uri) for entry in listing.entries] == theirs


@pytest.mark.parametrize("every", [1, 4])
def test_what_is_left_of_a_truncated_clip_is_what_ffmpeg_selects(tmp_path, every) -> None:
    path = cut(tmp_path)
    entries = list_source(str(path), frames=FrameChoice(every=every)).entries
    ours = []
    for entry in entries:
        with suppress(ImageFailure):
            ours.append(hash_at(entry.uri))
    assert len(ours) >= 12 // every
    assert ours == selected(path, f"not(mod(n\\,{every}))")[: len(ours)]


def test_frames_have_the_numbers_by_which_cvat_serves_them(clips) -> None:
    """CVAT demuxes the first track, decodes packet by packet and counts what comes out.

    Its numbers are those of FFmpeg's decoder, without a look at any time (cvat/apps/engine,
    VideoReader). Kills: a frame counted by its time where two have one, or by its packet.
    """
    for kind, path in clips.items():
        with av.open(str(path)) as opened:
            times = [frame.pts for frame in decoded(opened)]
        timeline = scan_video(str(path))
        assert len(timeline) == len(times), kind
        if not timeline.counted:
            assert list(timeline.pts) == times, kind


@pytest.mark.parametrize("kind", ["b_frames", "open_groups", "variable", "transport", "no_index",
                                  "avi_b_frames", "hidden_frames", "fragmented"])  # fmt: skip
def test_a_frame_does_not_depend_on_where_reading_began(clips, kind) -> None:
    path = clips[kind]
    places = places_of(path, scan_video(str(path)))
    in_order = [hash_of(place) for place in places]
    for index in np.random.default_rng(5).permutation(NUM_FRAMES):
        assert hash_of(places[index]) == in_order[index]


def test_times_are_those_the_clip_was_made_with(clips) -> None:
    timeline = scan_video(str(clips["variable"]))
    steps = np.random.default_rng(3).integers(100, 2000, NUM_FRAMES)
    assert np.diff(timeline.pts).tolist() == steps[1:].tolist()
    assert timeline.time_base == Fraction(1, 12800)
    assert timeline.seconds(0) == 0
    assert timeline.seconds(2) == Fraction(int(steps[1] + steps[2]), 12800)


def test_a_place_comes_back_from_its_uri() -> None:
    place = FramePlace("/data/odd name! #1.mp4", 123, -4004, -8008, Fraction(1001, 30000), True)
    assert place_of_frame(place.uri) == place
    assert place_of_frame("zip:///x.zip!/a.png") is None
    assert place_of_frame("/data/video://x.mp4") is None


def test_what_is_cut_off_is_said_and_the_rest_is_read(tmp_path, clips) -> None:
    timeline = scan_video(str(cut(tmp_path)))
    assert 5 < len(timeline) < NUM_FRAMES
    assert f"{NUM_FRAMES} frames and the file holds {len(timeline)}" in timeline.notes[0]
    *whole, last = places_of(tmp_path / "cut.mp4", timeline)
    sound = places_of(clips["constant"], scan_video(str(clips["constant"])))
    assert [hash_of(place) for place in whole] == [hash_of(p) for p in sound[: len(whole)]]
    with pytest.raises(ImageFailure, match=r"cut.mp4 frame \d+ .* does not decode") as caught:
        hash_of(last)
    assert caught.value.code is ErrorCode.CORRUPT


@pytest.mark.parametrize("first", [8, 60])
def test_a_torn_frame_fails_with_those_built_on_it_whatever_the_order(tmp_path, first) -> None:
    """Kills: a picture that the decoder has patched up, where only a part of it is torn."""
    whole = write_clip(tmp_path / "whole.mkv", gop=10, codec_options={"sc_threshold": "0"})
    truth = [hash_of(place) for place in places_of(whole, scan_video(str(whole)))]
    path = torn(tmp_path, first)
    places = places_of(path, scan_video(str(path)))
    lost = range(16, 20)  # frame 20 is a key frame
    for order in (range(NUM_FRAMES), np.random.default_rng(1).permutation(NUM_FRAMES)):
        for index in order:
            if index in lost:
                with pytest.raises(ImageFailure, match=f"frame {index} "):
                    hash_of(places[index])
            else:
                assert hash_of(places[index]) == truth[index]


def test_sound_alone_is_refused_by_its_name(tmp_path) -> None:
    with pytest.raises(ImageFailure, match=r"sound.mp4 has no moving pictures, only audio"):
        scan_video(str(audio_only(tmp_path)))


@pytest.mark.parametrize(
    "text", ["#EXTM3U\n#EXTINF:1,\nconstant.mp4\n", "ffconcat version 1.0\nfile constant.mp4\n"]
)
def test_a_playlist_that_calls_itself_a_video_opens_no_other_file(clips, text) -> None:
    path = clips["constant"].with_name("list.mp4")
    path.write_text(text)
    with pytest.raises(ImageFailure, match=r"list.mp4 cannot be opened as a video"):
        scan_video(str(path))


def test_a_missing_video_and_an_empty_one(tmp_path) -> None:
    with pytest.raises(ImageFailure, match=r"gone.mp4") as caught:
        scan_video(str(tmp_path / "gone.mp4"))
    assert caught.value.code is ErrorCode.VANISHED
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(ImageFailure, match=r"empty.mp4"):
        scan_video(str(tmp_path / "empty.mp4"))


def test_a_frame_larger_than_allowed_is_refused(clips) -> None:
    place = places_of(clips["constant"], scan_video(str(clips["constant"])))[0]
    with pytest.raises(ImageFailure) as caught:
        read_bytes(place.uri, limit=1000)
    assert caught.value.code is ErrorCode.UNSAFE_SIZE
