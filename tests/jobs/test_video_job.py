"""Whole runs over videos: rows, files beside the masks, damage, kills on either engine."""

import os
import signal
import subprocess
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks.processes import descendants, wait_until_gone
from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.run import run
from maskmill.opened_run import open_run
from maskmill.pipeline.prelabel.cutout import CutoutSettings
from maskmill.pipeline.prelabel.job import PrelabelJob
from maskmill.pipeline.prelabel.proof import verify_run
from maskmill.pipeline.prelabel.settings import PrelabelSettings
from maskmill.schemas.errors import RunRefused, SettingsError
from maskmill.schemas.tables.prelabel import TIMING_COLUMNS
from tests.jobs.in_process import SMALL, run_in_process
from tests.sick_images import write_small_pictures
from tests.video_clips import (
    NUM_FRAMES,
    SIZE,
    SOUND,
    audio_only,
    cut,
    odd_size,
    rotated,
    torn,
    variable_rate,
    with_b_frames,
    write_clip,
)

PROMISED = ("masks", "frames", "videos", "annotations.json")
"""What a run over videos writes, byte for byte the same each time."""


def rows_of(out: Path) -> list[dict]:
    return pq.read_table(out / "metadata").sort_by("image_id").to_pylist()


def problems(out: Path, *, inputs: bool = False) -> list[str]:
    layout = PrelabelJob(PrelabelSettings(source="", out=str(out))).layout
    return [text for found in verify_run(layout, inputs=inputs) for text in found.problems]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """Every fourth frame of three videos among pictures, with all that is written of frames."""
    source = tmp_path_factory.mktemp("mixed")
    write_small_pictures(source, 2, seed=4)
    for make in (variable_rate, rotated, odd_size, torn, audio_only):
        make(source)
    out = source.with_name("out")
    run_in_process(source, out, every=4, writers=("masks", "frames", "video"))
    return out


def test_rows_say_which_frame_of_which_video(labelled) -> None:
    rows = {row["key"]: row for row in rows_of(labelled)}
    row = rows["variable.mp4/000008"]
    steps = np.random.default_rng(3).integers(100, 2000, NUM_FRAMES)
    since = int(steps[1:9].sum())
    assert (row["video"], row["frame"], row["time_base"]) == ("variable.mp4", 8, "1/12800")
    assert row["pts"] - rows["variable.mp4/000000"]["pts"] == since
    assert row["seconds"] == pytest.approx(since / 12800)
    assert (row["format"], row["width"], row["height"]) == ("VIDEO", *SIZE)
    assert (rows["rotated.mp4/000004"]["width"], rows["rotated.mp4/000004"]["height"]) == SIZE[::-1]
    assert all(rows[key]["video"] is None for key in rows if "photo" in key)
    with Image.open(labelled / "masks/rotated.mp4/000004.png") as mask:
        assert mask.size == SIZE[::-1]


def test_damage_is_failed_rows_and_the_ledger_adds_up(labelled) -> None:
    failed = {row["key"]: row for row in rows_of(labelled) if row["status"] == "failed"}
    assert "sound.mp4" in failed
    assert "only audio" in failed["sound.mp4"]["error_message"]
    torn_frames = [key for key in failed if key.startswith("torn.mkv/")]
    assert torn_frames == ["torn.mkv/000016"]
    assert all(failed[key]["video"] == "torn.mkv" for key in torn_frames)
    assert set(failed) == {"sound.mp4", *torn_frames}
    assert problems(labelled, inputs=True) == []


def test_frames_are_the_pictures_that_were_labelled(labelled) -> None:
    opened = open_run(labelled)
    for key in ("variable.mp4/000012", "rotated.mp4/000004"):
        with Image.open(labelled / f"frames/{key}.jpg") as picture:
            difference = np.asarray(picture).astype(int) - opened.image(key)
        assert np.abs(difference).mean() < 3


def test_the_video_of_masks_is_lossless_and_keeps_the_times(labelled) -> None:
    rows = [row for row in rows_of(labelled) if row["video"] == "variable.mp4"]
    with av.open(str(labelled / "videos/variable.mp4.masks.mkv")) as opened:
        frames = list(opened.decode(video=0))
    assert len(frames) == len(rows)
    for frame, row in zip(frames, rows, strict=True):
        with Image.open(labelled / row["mask_path"]) as mask:
            assert np.array_equal(frame.to_ndarray(format="gray"), np.asarray(mask))
        assert abs(float(frame.pts * frame.time_base) - row["seconds"]) <= 0.001


def test_the_video_for_the_eye_shows_every_frame_at_its_time(labelled) -> None:
    rows = [row for row in rows_of(labelled) if row["video"] == "variable.mp4"]
    with av.open(str(labelled / "videos/variable.mp4.overlay.mp4")) as opened:
        frames = list(opened.decode(video=0))
    assert [frame.pts * frame.time_base for frame in frames] == [
        Fraction(row["pts"] - rows[0]["pts"], 12800) for row in rows
    ]
    with av.open(str(labelled / "videos/odd.mkv.overlay.mp4")) as opened:
        picture = next(opened.decode(video=0))
    assert (picture.width, picture.height) == (94, 62)


def test_videos_asked_for_later_are_made_and_nothing_else(tmp_path) -> None:
    clip, out = with_b_frames(tmp_path), tmp_path / "out"
    run_in_process(clip, out, every=10)
    before = rows_of(out)
    run_in_process(clip, out, every=10, writers=("masks", "video"))
    assert rows_of(out) == before
    first = {path.name: path.read_bytes() for path in (out / "videos").iterdir()}
    assert set(first) == {"bframes.mp4.overlay.mp4", "bframes.mp4.masks.mkv"}
    other = tmp_path / "other"
    run_in_process(clip, other, every=10, writers=("masks", "video"))
    assert {path.name: path.read_bytes() for path in (other / "videos").iterdir()} == first


def test_videos_of_pictures_are_refused_before_the_run(tmp_path) -> None:
    write_small_pictures(tmp_path / "photos", 1, seed=1)
    with pytest.raises(SettingsError, match="the source has none"):
        run_in_process(tmp_path / "photos", tmp_path / "out", writers=("masks", "video"))
    assert not (tmp_path / "out/metadata").exists()


def test_the_folder_of_a_run_is_no_source(tmp_path) -> None:
    """Kills: masks and overlays labelled as if they were photographs."""
    write_small_pictures(tmp_path / "photos", 1, seed=1)
    run_in_process(tmp_path / "photos", tmp_path / "out")
    with pytest.raises(SettingsError, match="is the folder of a run"):
        run_in_process(tmp_path / "out", tmp_path / "again")
    run_in_process(tmp_path / "out/masks", tmp_path / "of masks")  # whoever means it says it
    (tmp_path / "out").rename(tmp_path / "photos/earlier")
    layout = run_in_process(tmp_path / "photos", tmp_path / "third")
    assert [row["key"] for row in rows_of(tmp_path / "third")] == ["photo_00000.jpg"]
    assert not layout.exists("masks/earlier")


def test_more_frames_are_an_extension_and_fewer_are_refused(tmp_path) -> None:
    clip, out = with_b_frames(tmp_path), tmp_path / "out"
    run_in_process(clip, out, every=10)
    with pytest.raises(RunRefused, match="--extend"):
        run_in_process(clip, out, every=5)
    run_in_process(clip, out, every=5, extend=True)
    assert sorted(row["frame"] for row in rows_of(out)) == [0, 5, 10, 15, 20, 25]
    assert problems(out) == []


def test_cutouts_of_a_video(tmp_path) -> None:
    out = tmp_path / "out"
    settings = {"cutouts": CutoutSettings(background="remove")}
    written = {"writers": ("masks", "cutouts"), "writer_settings": settings}
    run_in_process(rotated(tmp_path), out, "cutout", every=15, **written)
    with Image.open(out / "cutouts/rotated.mp4/000015.png") as picture:
        assert (picture.mode, picture.size) == ("RGBA", SIZE[::-1])


def written(out: Path) -> dict[str, bytes]:
    """Masks, frames, videos and the document."""
    files = [path for path in out.rglob("*.*") if path.relative_to(out).parts[0] in PROMISED]
    return {str(path.relative_to(out)): path.read_bytes() for path in files if path.is_file()}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engines", [("local", "ray"), ("ray", "local")], ids="-".join)
def test_killed_in_the_middle_of_a_video_it_ends_as_if_nothing_had_been(
    tmp_path, maskmill, engines
) -> None:
    """SIGKILL to the driver twice, then the other engine finishes. Every kind of clip is there."""
    from tests.jobs.conftest import ROOT, command_line

    options = {"b_strategy": "0", "sc_threshold": "0"}
    source = tmp_path / "clips"
    source.mkdir()
    for make in (*SOUND.values(), cut, torn, audio_only):
        make(source)
    write_clip(
        source / "long.mp4",
        stamps=np.cumsum(np.random.default_rng(9).integers(200, 900, 600)).tolist(),
        codec_options=options,
        b_frames=3,
    )
    settings = ("--image-size", 65, "--block-images", 8, "--every", 2, "--write",
                "masks,frames,video", "--allow-failures")  # fmt: skip
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    result = maskmill("prelabel", source, calm, *settings, "--engine", "local")
    assert result.returncode == 0, result.stderr
    for kills in (4, 20):
        line = command_line("prelabel", source, stormy, *settings, "--engine", engines[0])
        driver = subprocess.Popen(
            line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 300
        while len(list((stormy / "metadata").glob("block-*"))) < kills:
            assert driver.poll() is None, "the run ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        tree = descendants(driver.pid)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        at_work = {pid: name for pid, name in tree.items() if name.startswith("ray::Map")}
        assert wait_until_gone(at_work, seconds=30)
    result = maskmill("prelabel", source, stormy, *settings, "--engine", engines[1])
    assert result.returncode == 0, result.stderr
    ends = [written(out) for out in (calm, stormy)]
    assert len(ends[0]) > 2 * 500
    assert ends[1] == ends[0]
    tables = [pq.read_table(out / "metadata").sort_by("image_id") for out in (calm, stormy)]
    same, other = (table.drop_columns(list(TIMING_COLUMNS)) for table in tables)
    assert same.equals(other)
    assert len(set(same["video"].to_pylist()) - {None}) == len(SOUND) + 3
    assert same["status"].to_pylist().count("ok") == len(ends[0]) // 2 - 18


@pytest.mark.slow
def test_ray_and_this_process_label_a_video_alike(tmp_path) -> None:
    clip = with_b_frames(tmp_path)
    outs = {}
    for engine in ("local", "ray"):
        values = {"source": str(clip), "out": str(tmp_path / engine), **SMALL, "every": 3}
        run(PrelabelJob(PrelabelSettings(**values)), RunOptions(engine=engine))
        outs[engine] = {
            path.name: path.read_bytes() for path in (tmp_path / engine / "masks").rglob("*.png")
        }
    assert outs["local"] == outs["ray"]
    assert len(outs["ray"]) == 10
