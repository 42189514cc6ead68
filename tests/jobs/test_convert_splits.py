"""Exports whose splits name pictures alike, as Roboflow's do: every picture is kept."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from maskmill.schemas.tables.convert import CONVERSION
from tests.jobs.convert_in_process import convert_in_process as convert

SPLITS = {"train": 10, "valid": 90, "test": 170}
NAMES = ["cat", "dog"]


def write_picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 8, 3), value, np.uint8)).save(path)


def rows_by_key(out: Path) -> dict[str, dict]:
    rows = pq.read_table(out / "metadata", schema=CONVERSION).to_pylist()
    return {row["key"]: row for row in rows}


def check(source: Path, out: Path, kind: str) -> None:
    """Three pictures of one name, each with its own split, its own class and its own pixels."""
    done = convert(source, out, "--from", kind, "--to", "voc", "--with-images", "--check")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["ledger"]["ok"], report["pictures"]) == (4, 4)
    rows = rows_by_key(out)
    assert set(rows) == {"train/a.png", "valid/a.png", "test/a.png", "only.png"}
    for split, value in SPLITS.items():
        row = rows[f"{split}/a.png"]
        assert row["split"] == split
        assert np.asarray(Image.open(out / row["picture"])).max() == value
    drawn = {split: set(rows[f"{split}/a.png"]["classes"]) - {0} for split in SPLITS}
    assert drawn == {"train": {1}, "valid": {2}, "test": {1}}


def test_roboflow_yolo(tmp_path: Path) -> None:
    """data.yaml at the top, then train/, valid/ and test/ with images/ and labels/ each."""
    root = tmp_path / "in"
    for number, (split, value) in enumerate(SPLITS.items()):
        write_picture(root / f"{split}/images/a.png", value)
        (root / f"{split}/labels").mkdir()
        line = f"{number % 2} 0.1 0.1 0.6 0.1 0.6 0.6 0.1 0.6\n"
        (root / f"{split}/labels/a.txt").write_text(line)
    write_picture(root / "train/images/only.png", 33)
    (root / "train/labels/only.txt").write_text("")
    (root / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\n"
        "names: ['cat', 'dog']\n"
    )
    check(root, tmp_path / "out", "yolo")


def test_roboflow_coco(tmp_path: Path) -> None:
    """<split>/_annotations.coco.json beside the pictures; category 0 is the set's own name."""
    root = tmp_path / "in"
    for number, (split, value) in enumerate(SPLITS.items()):
        write_picture(root / f"{split}/a.png", value)
        files = ["a.png"]
        if split == "train":
            write_picture(root / "train/only.png", 33)
            files.append("only.png")
        document = {
            "images": [{"id": at, "file_name": name, "height": 6, "width": 8}
                       for at, name in enumerate(files)],
            "categories": [{"id": 1, "name": "cat", "supercategory": "pets"},
                           {"id": 2, "name": "dog", "supercategory": "pets"}],
            "annotations": [{
                "id": 0, "image_id": 0, "category_id": 1 + number % 2, "iscrowd": 0,
                "segmentation": [[1, 1, 5, 1, 5, 4, 1, 4]], "bbox": [1, 1, 4, 3], "area": 12,
            }],
        }  # fmt: skip
        (root / split / "_annotations.coco.json").write_text(json.dumps(document))
    check(root, tmp_path / "out", "coco")


def test_one_name_twice_in_a_split_still_costs_the_second(tmp_path: Path) -> None:
    picture = {"file_name": "a.png", "height": 6, "width": 8}
    document = {
        "images": [{"id": 1, **picture}, {"id": 2, **picture}],
        "categories": [{"id": 1, "name": "cat"}], "annotations": [],
    }  # fmt: skip
    (tmp_path / "coco.json").write_text(json.dumps(document))
    done = convert(tmp_path / "coco.json", tmp_path / "out", "--from", "coco", "--to", "indexed")
    assert done.exit_code == 3, done.output
    failed = [row for row in rows_by_key(tmp_path / "out").values() if row["status"] == "failed"]
    assert len(failed) == 1 and "which it has named before" in failed[0]["error_message"]


def write_pixelmaps(folder: Path, classes: str) -> None:
    """COCO stuff's pixel maps: category ids from 1, 0 where nothing is labelled."""
    (folder / "annotations/stuff_val_pixelmaps").mkdir(parents=True)
    values = np.array([[0, 1], [2, 255]], np.uint8).repeat(3, 0).repeat(4, 1)
    Image.fromarray(values).save(folder / "annotations/stuff_val_pixelmaps/a.png")
    (folder / "classes.txt").write_text(classes)


def test_pixel_maps_take_the_class_list_beside_them(tmp_path: Path) -> None:
    write_pixelmaps(tmp_path / "named", "background\ncat\ndog\n")
    write_pixelmaps(tmp_path / "bare", "cat\ndog\n")
    for name, place in (("named", "out"), ("bare", "out2")):
        out = tmp_path / place
        arguments = (tmp_path / name, out, "--from", "coco_pixelmaps", "--to", "indexed")
        done = convert(*arguments)
        assert done.exit_code == 0, done.output
        record = json.loads((out / "run.json").read_text())
        names = [entry["name"] for entry in record["label_map"]["classes"]]
        (row,) = rows_by_key(out).values()
        assert [names[index] for index in row["classes"] if names[index] in NAMES] == NAMES
        told = "classes.txt: value 1 is read as 'cat', for COCO counts from 1"
        assert (told in done.stderr) == (name == "bare")
