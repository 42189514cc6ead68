"""Packages for CVAT of the frames of a video: its own numbers, as its importers count them."""

import zipfile
from pathlib import Path
from xml.etree.ElementTree import parse

import pytest

from maskmill.pipeline.pictures.names import cvat_name, frame_of_key
from tests.jobs.convert_in_process import convert_in_process
from tests.jobs.in_process import run_in_process
from tests.video_clips import constant_rate, with_b_frames


def converted(run: Path, out: Path, to_format: str) -> None:
    result = convert_in_process(run, out, "--from", "prelabel", "--to", to_format, "--check")
    assert result.exit_code == 0, result.stderr


def image_ids(out: Path) -> list[int]:
    return [int(one.get("id")) for one in parse(out / "dataset/annotations.xml").iter("image")]


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("a/clip.mp4/000123", ("a/clip.mp4", 123)),
        ("clip.MKV/000007.jpg", ("clip.MKV", 7)),
        ("clip/000123", None),
        ("clip.mp4/cover", None),
        ("000123.png", None),
    ],
)
def test_a_frame_is_known_by_its_key(key, found) -> None:
    assert frame_of_key(key) == found
    assert (cvat_name(key) == key) == (found is None)


def test_the_numbers_are_those_of_the_video(tmp_path) -> None:
    run_in_process(with_b_frames(tmp_path), tmp_path / "run", every=7)
    converted(tmp_path / "run", tmp_path / "xml", "cvat_images")
    assert image_ids(tmp_path / "xml") == [0, 7, 14, 21, 28]
    converted(tmp_path / "run", tmp_path / "zip", "cvat_mask")
    with zipfile.ZipFile(tmp_path / "zip/dataset/segmentation_mask.zip") as archive:
        listed = archive.read("ImageSets/Segmentation/default.txt").decode().split()
        names = archive.namelist()
    # CVAT's importer takes what follows "frame_" in the base name for the number of the frame.
    numbers = [int(name.rpartition("/")[2].removeprefix("frame_")) for name in listed]
    assert numbers == [0, 7, 14, 21, 28]
    assert {f"SegmentationClass/{name}.png" for name in listed} <= set(names)


def test_frames_of_two_videos_are_counted_through(tmp_path) -> None:
    for make in (with_b_frames, constant_rate):
        make(tmp_path)
    run_in_process(tmp_path / "*.mp4", tmp_path / "run", every=15)
    converted(tmp_path / "run", tmp_path / "xml", "cvat_images")
    assert image_ids(tmp_path / "xml") == [0, 1, 2, 3]
