"""`--write features`: beside the masks, in one pass, whenever it is asked for."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from maskmill.pipeline.prelabel.proof import verify_run
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.selection.feature_table import block_features, row_sha256
from maskmill.schemas.tables.selection import FEATURES
from tests.jobs.in_process import run_in_process
from tests.pipeline.selection.pictures import scene
from tests.sick_images import write_sick_images, write_small_pictures

BESIDE = ("masks", "features")


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.*")}


def problems(out: Path) -> list[str]:
    return [text for step in verify_run(RunLayout(str(out))) for text in step.problems]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Nine sound and two sick pictures; a run without features, and one with them."""
    folder = tmp_path_factory.mktemp("features")
    write_small_pictures(folder / "in", 9, seed=5)
    write_sick_images(folder / "in", 2, seed=6)
    run_in_process(folder / "in", folder / "plain")
    run_in_process(folder / "in", folder / "with", writers=BESIDE)
    return folder


def test_the_fingerprint_is_of_all_pixels_though_the_network_needs_fewer(tmp_path):
    """A large JPEG is decoded at a part of its size; a lossless copy of it is still its equal."""
    (tmp_path / "in").mkdir()
    scene(1, (1600, 1200)).save(tmp_path / "in/large.jpg")
    Image.open(tmp_path / "in/large.jpg").save(tmp_path / "in/same.png")
    layout = run_in_process(tmp_path / "in", tmp_path / "out", writers=BESIDE)
    first, second = block_features(layout, 0)["pixels_sha256"].to_pylist()
    assert first == second


def test_masks_and_documents_are_the_same_with_and_without(folders):
    assert files_below(folders / "plain/masks") == files_below(folders / "with/masks")
    first, second = (pq.read_table(folders / name / "metadata") for name in ("plain", "with"))
    assert first["settings_fingerprint"].equals(second["settings_fingerprint"])
    assert first["segments"].equals(second["segments"])


def test_every_ok_row_has_its_feature_in_the_blocks_own_file(folders):
    rows = pq.read_table(folders / "with/metadata").to_pylist()
    layout = RunLayout(str(folders / "with"))
    for block in layout.committed_blocks():
        table = block_features(layout, block)
        assert table.schema.equals(FEATURES)
        said = [row for row in rows if row["block"] == block and row["status"] == "ok"]
        assert table["image_id"].to_pylist() == [row["image_id"] for row in said]
        for row, feature in zip(said, table.to_pylist(), strict=True):
            (file,) = row["files"]
            assert file["name"] == "features" and file["path"].endswith(f"-{block:07d}.parquet")
            assert file["sha256"] == row_sha256(feature)
            assert len(feature["feature"]) == 256 and np.ptp(feature["feature"]) > 0
    assert problems(folders / "with") == []


def test_asked_for_later_only_the_missing_are_made(folders, tmp_path):
    run_in_process(folders / "in", tmp_path / "out")
    masks = {path: path.stat().st_ino for path in (tmp_path / "out/masks").rglob("*.png")}
    run_in_process(folders / "in", tmp_path / "out", writers=BESIDE)
    assert files_below(tmp_path / "out/features") == files_below(folders / "with/features")
    again = {path: path.stat().st_ino for path in (tmp_path / "out/features").iterdir()}
    run_in_process(folders / "in", tmp_path / "out")  # what was asked for once stays asked for
    assert {path: path.stat().st_ino for path in again} == again
    assert {path.name for path in masks} == set(files_below(tmp_path / "out/masks"))


def test_a_block_done_in_part_keeps_the_features_of_the_rest(folders, tmp_path):
    """One row's features are lost: it alone is done again, and the file is what it was."""
    run_in_process(folders / "in", tmp_path / "out", writers=BESIDE)
    layout = RunLayout(str(tmp_path / "out"))
    rows = layout.committed_block(0)
    place = rows["status"].to_pylist().index("ok")
    values = rows.to_pylist()
    values[place]["files"] = []
    layout.write_table(layout.block_path(0), type(rows).from_pylist(values, schema=rows.schema))
    assert problems(tmp_path / "out") == [
        "features/block-0000000.parquet has 1 rows that belong to no row of the run"
    ]
    run_in_process(folders / "in", tmp_path / "out", writers=BESIDE)
    assert files_below(tmp_path / "out/features") == files_below(folders / "with/features")
    assert problems(tmp_path / "out") == []


def test_an_extended_run_has_the_features_of_its_new_images(folders, tmp_path):
    write_small_pictures(tmp_path / "in", 5, seed=5)
    run_in_process(tmp_path / "in", tmp_path / "out", writers=BESIDE)
    write_small_pictures(tmp_path / "in/more", 3, seed=9)
    run_in_process(tmp_path / "in", tmp_path / "out", extend=True)
    ids = pq.read_table(tmp_path / "out/features")["image_id"].to_pylist()
    assert sorted(ids) == list(range(1, 9))
    assert problems(tmp_path / "out") == []


def test_verify_finds_a_feature_that_is_changed_and_a_file_that_is_gone(folders, tmp_path):
    run_in_process(folders / "in", tmp_path / "out", writers=BESIDE)
    layout = RunLayout(str(tmp_path / "out"))
    table = block_features(layout, 0)
    values = table.to_pylist()
    values[0]["feature"][3] = np.float16(99.0)
    layout.write_table("features/block-0000000.parquet", type(table).from_pylist(values, FEATURES))
    (tmp_path / "out/features/block-0000001.parquet").unlink()
    assert [text.partition(": ")[2] or text for text in problems(tmp_path / "out")] == [
        "its row in features/block-0000000.parquet is missing or not what was written",
        "features/block-0000001.parquet is missing",
    ]
