"""`verify` finds what is wrong: every kind of damage planted in a finished run, one at a time."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from maskmill.pipeline.prelabel.proof import verify_run
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.tables.prelabel import METADATA
from tests.jobs.in_process import run_in_process
from tests.sick_images import write_sick_images, write_small_pictures


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("verified")
    write_small_pictures(folder / "in", 8, seed=21)
    write_sick_images(folder / "in", 2, seed=22)
    run_in_process(folder / "in", folder / "out", writers=("masks", "overlays", "soft"))
    return folder


@pytest.fixture
def out(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound / "out", tmp_path / "out"))


def problems(out: Path, **options: bool) -> list[str]:
    return [text for step in verify_run(RunLayout(str(out)), **options) for text in step.problems]


def rewrite(out: Path, block: int, change) -> None:
    layout = RunLayout(str(out))
    rows = layout.committed_block(block).to_pylist()
    rows = change(rows) or rows
    layout.write_table(layout.block_path(block), pa.Table.from_pylist(rows, schema=METADATA))


def first_ok(rows: list[dict]) -> dict:
    return next(row for row in rows if row["status"] == "ok" and row["segments"])


def test_a_sound_run_has_no_problem(out) -> None:
    assert problems(out, inputs=True) == []


def test_a_missing_mask(out) -> None:
    next((out / "masks").rglob("*.png")).unlink()
    assert any("is missing" in text for text in problems(out))


@pytest.mark.parametrize("folder", ["overlays", "soft"])
def test_another_output_that_is_missing_changed_or_foreign(out, folder) -> None:
    first, second = sorted((out / folder).iterdir())[:2]
    first.unlink()
    second.write_bytes(second.read_bytes() + b"x")
    (out / folder / "notes.jpg").write_bytes(b"x")
    found = problems(out)
    assert len(found) == 3
    for path, said in ((first, "is missing"), (second, "its hash differs"), ("notes", "no image")):
        assert any(Path(path).name in text and said in text for text in found)


def test_a_mask_changed_by_one_pixel(out) -> None:
    path = next((out / "masks").rglob("*.png"))
    with Image.open(path) as mask:
        pixels, palette = np.array(mask), mask.getpalette()
    pixels[0, 0] = (pixels[0, 0] + 1) % 20
    changed = Image.fromarray(pixels)
    changed.putpalette(palette)
    changed.save(path)
    found = problems(out)
    assert any("its hash differs" in text for text in found)
    assert any("pixels per class" in text for text in found)


def test_a_mask_that_is_no_picture(out) -> None:
    next((out / "masks").rglob("*.png")).write_bytes(b"\x89PNG broken")
    assert any("its hash differs" in text for text in problems(out))


def test_a_foreign_file_among_the_masks(out) -> None:
    (out / "masks/notes.png").write_bytes(b"x")
    assert any("notes.png belongs to no image" in text for text in problems(out))


def test_a_lost_block(out) -> None:
    sorted((out / "metadata").iterdir())[0].unlink()
    assert any("4 items of the manifest have no row" in text for text in problems(out))


def test_a_row_twice(out) -> None:
    rewrite(out, 0, lambda rows: [rows[0], *rows])
    assert any("not those of the manifest" in text for text in problems(out))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda segment: segment.update(area=segment["area"] + 1), "another area or box"),
        (lambda segment: segment.update(bbox=[0, 0, 1, 1]), "another area or box"),
        (lambda segment: segment.update(category_id=99), "unknown category 99"),
        (lambda segment: segment.update(counts="00"), "RLE|counts|runs|pixels"),
    ],
)
def test_a_segment_that_is_not_its_pixels(out, change, said) -> None:
    rewrite(out, 0, lambda rows: change(first_ok(rows)["segments"][0]))
    import re

    assert any(re.search(said, text) for text in problems(out))


def test_a_coco_document_that_was_edited(out) -> None:
    path = out / "annotations.json"
    document = json.loads(path.read_text())
    document["annotations"].pop()
    path.write_text(json.dumps(document))
    assert any("annotations.json is not what the rows say" in text for text in problems(out))


def test_a_ledger_that_lies(out) -> None:
    record = json.loads((out / "run.json").read_text())
    record["ledger"]["failed"] = 0
    (out / "run.json").write_text(json.dumps(record))
    assert any("the ledger says failed 0, counted 2" in text for text in problems(out))


def test_an_unfinished_run(out) -> None:
    record = json.loads((out / "run.json").read_text())
    record["state"] = "running"
    (out / "run.json").write_text(json.dumps(record))
    assert any("not finished" in text for text in problems(out))


def test_an_input_that_changed_since(sound, out) -> None:
    path = next((sound / "in").rglob("*.png"))
    before = path.read_bytes()
    try:
        path.write_bytes(before + b"\0")
        assert any("has changed since" in text for text in problems(out, inputs=True))
    finally:
        path.write_bytes(before)


def test_a_failed_row_without_a_reason(out) -> None:
    def change(rows):
        next(row for row in rows if row["status"] == "failed")["error_message"] = None

    for block in RunLayout(str(out)).committed_blocks():
        rows = RunLayout(str(out)).committed_block(block).to_pylist()
        if any(row["status"] == "failed" for row in rows):
            rewrite(out, block, change)
            break
    assert any("without a known code and a message" in text for text in problems(out))


def test_a_folder_without_a_run(tmp_path) -> None:
    with pytest.raises(SettingsError, match="holds no run"):
        problems(tmp_path)
