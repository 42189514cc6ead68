"""Masks whose foreground is 255 are not read as nothing but ignore; grey JPEGs are not read at all.

Through the command, as people meet it.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from maskmill.schemas.labels import VOID_COLOR
from tests.jobs.convert_in_process import convert_in_process


def write_masks(folder: Path, levels: Sequence[int], count: int = 4, suffix: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        mask = np.full((16, 16), levels[0], np.uint8)
        for place, level in enumerate(levels[1:]):
            mask[4 * place : 4 * place + 3, : 4 + number] = level
        Image.fromarray(mask).save(folder / f"{number}.{suffix}")


def convert(source: Path, out: Path, *arguments: object) -> object:
    return convert_in_process(source, out, "--to", "coco", *arguments)


@pytest.mark.parametrize(
    ("reads", "labels"),
    [("masks", "voc"), ("indexed", "voc"), ("indexed", "person"), ("binary01", "person")],
)
def test_255_is_not_taken_for_ignore_where_all_foreground_is_255(
    tmp_path: Path, reads: str, labels: str
) -> None:
    write_masks(tmp_path / "masks", [0, 255])
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "masks/empty.png")
    done = convert(tmp_path / "masks", tmp_path / "out", "--from", reads, "--labels", labels)
    assert done.exit_code == 2, done.output
    assert "hold only 0 and 255, as binary masks do" in done.output
    assert "--from binary" in done.output and "--unknown ignore" in done.output


def areas(out: Path) -> dict[str, int]:
    (path,) = (out / "dataset").rglob("*.json")
    document = json.loads(path.read_text())
    names = {one["id"]: one["name"] for one in document["categories"]}
    found: dict[str, int] = {}
    for one in document["annotations"]:
        name = names[one["category_id"]]
        found[name] = found.get(name, 0) + one["area"]
    return found


@pytest.mark.parametrize("reads", ["masks", "binary"])
def test_what_the_message_names_reads_them(tmp_path: Path, reads: str) -> None:
    write_masks(tmp_path / "masks", [0, 255])
    done = convert(tmp_path / "masks", tmp_path / "out", "--from", reads, "--labels", "person")
    assert done.exit_code == 0, done.output
    assert areas(tmp_path / "out") == {"person": 3 * (4 + 5 + 6 + 7)}


def test_where_255_is_ignore_it_can_be_said(tmp_path: Path) -> None:
    write_masks(tmp_path / "masks", [0, 255])
    options = ("--from", "indexed", "--labels", "voc", "--unknown", "ignore")
    done = convert(tmp_path / "masks", tmp_path / "out", *options)
    assert done.exit_code == 0, done.output
    assert areas(tmp_path / "out") == {}


def test_one_mask_with_a_class_makes_255_ignore(tmp_path: Path) -> None:
    write_masks(tmp_path / "masks", [0, 255])
    write_masks(tmp_path / "masks", [0, 255, 7], count=1)
    done = convert(tmp_path / "masks", tmp_path / "out", "--from", "indexed", "--labels", "voc")
    assert done.exit_code == 0, done.output
    assert areas(tmp_path / "out") == {"car": 12}


def test_void_of_voc_is_void_however_few_classes_a_mask_has(tmp_path: Path) -> None:
    mask = np.zeros((16, 16), np.uint8)
    mask[:3] = 255
    image = Image.fromarray(mask, "P")
    image.putpalette([0, 0, 0] * 255 + list(VOID_COLOR))
    (tmp_path / "masks").mkdir()
    image.save(tmp_path / "masks/a.png")
    done = convert(tmp_path / "masks", tmp_path / "out", "--from", "palette", "--labels", "voc")
    assert done.exit_code == 0, done.output


def test_masks_beside_a_list_of_more_classes(tmp_path: Path) -> None:
    write_masks(tmp_path / "masks", [0, 255])
    (tmp_path / "classes.txt").write_text("background\ncrack\nrust\n")
    done = convert(tmp_path, tmp_path / "out", "--from", "masks")
    assert done.exit_code == 2
    assert "'classes' with its 3 classes" in done.output


def test_a_folder_of_ultralytics_with_0_and_255(tmp_path: Path) -> None:
    write_masks(tmp_path / "masks/train", [0, 255])
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [background, crack]\n")
    done = convert(tmp_path, tmp_path / "out", "--from", "ultralytics_semantic")
    assert done.exit_code == 2
    assert "hold only 0 and 255" in done.output


def test_our_own_masks_of_background_and_ignore_come_back(tmp_path: Path) -> None:
    write_masks(tmp_path / "masks", [0, 255])
    options = ("--from", "indexed", "--labels", "voc", "--unknown", "ignore", "--to", "indexed")
    first = convert_in_process(tmp_path / "masks", tmp_path / "first", *options, "--check")
    assert first.exit_code == 0, first.output
    again = convert(tmp_path / "first/dataset", tmp_path / "out", "--from", "masks", "--check")
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize("labels", ["voc", "person"])
def test_grey_jpegs_are_refused_one_by_one(tmp_path: Path, labels: str) -> None:
    write_masks(tmp_path / "masks", [0, 255], suffix="jpg")
    done = convert(tmp_path / "masks", tmp_path / "out", "--from", "masks", "--labels", labels)
    assert done.exit_code == 3, done.output
    document = json.loads(done.stdout)
    assert document["ledger"]["failures"] == {"lossy_mask": 4}
    if labels == "person":  # what the message names
        options = ("--from", "binary", "--unknown", "nearest", "--labels", labels)
        done = convert(tmp_path / "masks", tmp_path / "cut", *options)
        assert done.exit_code == 0, done.output
        wanted = 3 * (4 + 5 + 6 + 7)
        assert abs(areas(tmp_path / "cut")["person"] - wanted) < wanted / 2


def test_the_sentence_about_a_grey_jpeg_names_its_remedy(tmp_path: Path) -> None:
    write_masks(tmp_path / "masks", [0, 60, 120], suffix="jpg", count=1)
    out = tmp_path / "out"
    convert(tmp_path / "masks", out, "--from", "masks", "--labels", "voc", "--unknown", "nearest")
    (rows,) = out.rglob("metadata/*.parquet")
    (message,) = pq.read_table(rows)["error_message"].to_pylist()
    assert "grey levels between tell no class" in message and "--from binary" in message
