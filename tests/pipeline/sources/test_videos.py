"""Videos in sources: which frames are taken, what they are called, what is said."""

import shutil
from fractions import Fraction
from pathlib import Path

import av
import pytest

from maskmill.pipeline.pictures.frame_place import place_of_frame
from maskmill.pipeline.pictures.names import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from maskmill.pipeline.sources.frame_choice import FrameChoice, frame_choice, text_to_seconds
from maskmill.pipeline.sources.registry import list_source
from maskmill.schemas.errors import SettingsError
from tests.sick_images import write_small_pictures
from tests.video_clips import NUM_FRAMES, audio_only, constant_rate, cut, variable_rate

ALL = FrameChoice()


def keys_of(source: Path, choice: FrameChoice | None = ALL) -> list[str]:
    return [entry.key for entry in list_source(str(source), frames=choice).entries]


def frames_of(source: Path, choice: FrameChoice) -> list[int]:
    entries = list_source(str(source), frames=choice).entries
    return [place_of_frame(entry.uri).index for entry in entries]


def selected(path: Path, expression: str) -> list[int]:
    """Numbers of the frames that FFmpeg's select filter lets through."""
    with av.open(str(path)) as opened:
        stream = opened.streams.video[0]
        graph = av.filter.Graph()
        source, sink = graph.add_buffer(template=stream), graph.add("buffersink")
        select = graph.add("select", expression)
        source.link_to(select)
        select.link_to(sink)
        graph.configure()
        found = []
        for number, frame in enumerate(opened.decode(stream)):
            graph.push(frame)
            try:
                graph.pull()
                found.append(number)
            except av.BlockingIOError:
                pass
    return found


def test_no_extension_is_both_picture_and_video() -> None:
    assert not set(IMAGE_EXTENSIONS) & set(VIDEO_EXTENSIONS)


def test_frames_are_keys_in_the_order_they_are_shown(tmp_path) -> None:
    path = constant_rate(tmp_path)
    expected = [f"constant.mp4/{number:06d}" for number in range(NUM_FRAMES)]
    assert keys_of(path) == expected
    listing = list_source(str(path), frames=FrameChoice(every=10))
    assert (listing.kind, listing.root) == ("video", str(tmp_path))
    assert [entry.key[-2:] for entry in listing.entries] == ["00", "10", "20"]
    assert listing.notes == (f"constant.mp4: 3 of {NUM_FRAMES} frames are taken",)


def test_videos_lie_among_pictures_in_folders_globs_and_lists(tmp_path) -> None:
    pictures = write_small_pictures(tmp_path, 2, seed=1)
    (tmp_path / "deep").mkdir()
    constant_rate(tmp_path / "deep")
    frames = [f"deep/constant.mp4/{number:06d}" for number in range(0, NUM_FRAMES, 8)]
    choice = FrameChoice(every=8)
    assert keys_of(tmp_path, choice) == sorted([*pictures, *frames])
    assert keys_of(tmp_path / "**/*.mp4", choice) == frames
    (tmp_path / "list.txt").write_text("\n".join([pictures[0], "deep/constant.mp4"]))
    assert keys_of(tmp_path / "list.txt", choice) == sorted([pictures[0], *frames])


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_videos_inside_archives_are_told_with_the_remedy(tmp_path, kind) -> None:
    pictures = write_small_pictures(tmp_path / "in", 1, seed=1)
    constant_rate(tmp_path / "in")
    variable_rate(tmp_path / "in")
    archive = shutil.make_archive(str(tmp_path / "all"), kind, tmp_path / "in")
    listing = list_source(archive, frames=FrameChoice())
    assert [entry.key for entry in listing.entries] == pictures
    assert listing.not_considered == {".mp4": 2}
    (note,) = listing.notes
    assert "2 videos inside archives are not read (constant.mp4, …): unpack them" in note
    assert list_source(archive).notes == ()  # where pictures alone are wanted
    (tmp_path / "in" / pictures[0]).unlink()
    archive = shutil.make_archive(str(tmp_path / "none"), kind, tmp_path / "in")
    with pytest.raises(SettingsError, match=r"no image found .* unpack them into a folder"):
        list_source(archive, frames=FrameChoice())


def test_a_choice_of_frames_where_there_is_no_video_is_refused(tmp_path) -> None:
    write_small_pictures(tmp_path / "photos", 2, seed=1)
    source = str(tmp_path / "photos")
    assert len(list_source(source, frames=FrameChoice())) == 2
    asked = ((2, None, None, None), (None, "2", None, None), (None, None, "1", None))
    for choice in (frame_choice(*one) for one in (*asked, (None, None, None, "9"))):
        with pytest.raises(SettingsError, match=r"--every, --fps, .*/photos holds no video"):
            list_source(source, frames=choice)
    audio_only(tmp_path / "photos")  # a video that cannot be read is one all the same
    assert len(list_source(source, frames=FrameChoice(every=2))) == 3


def test_where_pictures_alone_are_wanted_videos_are_counted(tmp_path) -> None:
    pictures = write_small_pictures(tmp_path, 1, seed=1)
    path = constant_rate(tmp_path)
    listing = list_source(str(tmp_path))
    assert [entry.key for entry in listing.entries] == pictures
    assert listing.not_considered == {".mp4": 1}
    with pytest.raises(SettingsError, match="pictures are wanted"):
        list_source(str(path))


@pytest.mark.parametrize("rate", ["2", "7.5", "30000/1001", "100"])
def test_a_rate_takes_the_first_frame_of_each_of_its_steps(tmp_path, rate) -> None:
    path = variable_rate(tmp_path)
    begin = "if(isnan(prev_pts)\\,0\\,start_pts)"
    step = f"floor((pts-start_pts)*({rate})/12800)"
    before = f"floor((prev_pts-{begin})*({rate})/12800)"
    theirs = selected(path, f"if(isnan(prev_pts)\\,1\\,gt({step}\\,{before}))")
    assert frames_of(path, frame_choice(None, rate, None, None)) == theirs


def test_from_and_to_are_seconds_of_the_video(tmp_path) -> None:
    path = constant_rate(tmp_path)  # 25 a second
    assert frames_of(path, frame_choice(None, None, "0.4", "0:00.6")) == [10, 11, 12, 13, 14]
    assert frames_of(path, frame_choice(4, None, "0.4", None)) == [12, 16, 20, 24, 28]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1:30", 90), ("0:01:30.5", Fraction(181, 2)), ("0", 0)]
)
def test_times_as_people_write_them(text, seconds) -> None:
    assert text_to_seconds(text) == seconds


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ((2, "2", None, None), "give one of them"),
        ((None, "fast", None, None), "'fast' is no frame rate"),
        ((None, "1/0", None, None), "no frame rate"),
        ((None, "-1", None, None), "takes no frame"),
        ((None, None, "1:75", None), "'1:75' is no time"),
        ((None, None, "-3", None), "is no time"),
        ((None, None, "5", "5"), "--to 5 is not after --from 5"),
    ],
)
def test_choices_that_cannot_be(asked, told) -> None:
    with pytest.raises(SettingsError, match=told):
        frame_choice(*asked)


def test_a_stretch_without_a_frame_is_said(tmp_path) -> None:
    with pytest.raises(SettingsError, match=f"0 of {NUM_FRAMES} frames are taken"):
        keys_of(constant_rate(tmp_path), frame_choice(None, None, "50", None))


def test_sound_alone_is_refused_and_in_a_folder_it_costs_itself(tmp_path) -> None:
    path = audio_only(tmp_path)
    with pytest.raises(SettingsError, match=r"sound.mp4 has no moving pictures, only audio"):
        keys_of(path)
    pictures = write_small_pictures(tmp_path, 1, seed=1)
    listing = list_source(str(tmp_path), frames=ALL)
    assert [entry.key for entry in listing.entries] == sorted([*pictures, "sound.mp4"])
    assert "only audio" in listing.notes[0]


def test_lost_frames_are_said(tmp_path) -> None:
    listing = list_source(str(cut(tmp_path)), frames=ALL)
    assert f"speaks of {NUM_FRAMES} frames and the file holds {len(listing)}" in listing.notes[0]
