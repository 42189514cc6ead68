"""`maskmill convert` as people use it: proof, ledger, exit codes, kills, hostile input."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools.coco import COCO

from pipeline.conversion_verification import verify_conversion
from pipeline.layout import RunLayout
from schemas.conversion_rows import CONVERSION
from schemas.labels import builtin

ROOT = Path(__file__).resolve().parents[2]
LABELS = builtin("voc")

pytestmark = pytest.mark.slow


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "jobs", "convert", *(str(argument) for argument in arguments)]


def convert(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, "--json"),
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def write_voc(folder: Path, count: int, side: int = 40) -> dict[str, np.ndarray]:
    """VOC class masks with rings, parts and single pixels; index arrays by key."""
    generator = np.random.default_rng(5)
    masks = {}
    for number in range(count):
        mask = generator.integers(0, 21, (side // 4, side // 4)).repeat(4, 0).repeat(4, 1)
        mask[5, 7] = 3
        key = f"{'sub/' if number % 2 else ''}photo {number:03d}"
        masks[key] = mask.astype(np.uint8)
        path = folder / f"SegmentationClass/{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(masks[key], "P")
        image.putpalette(LABELS.palette)
        image.save(path)
    return masks


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows_of(out: Path) -> list[dict]:
    return pq.read_table(out / "metadata", schema=CONVERSION).sort_by("image_id").to_pylist()


def problems_of(out: Path) -> list[str]:
    return [one for step in verify_conversion(RunLayout(str(out))) for one in step.problems]


def test_voc_to_coco_is_lossless_and_pycocotools_agrees(tmp_path: Path) -> None:
    masks = write_voc(tmp_path / "in", 10)
    out = tmp_path / "out"
    done = convert(tmp_path / "in", out, "--from", "voc", "--to", "coco", "--check",
                   "--block-samples", 3)  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ledger"]["ok"] == report["ledger"]["inputs"] == 10
    assert report["check"]["lossless"]
    assert report["check"]["pixels"] == 10 * 40 * 40
    document = COCO(str(out / "dataset/annotations/instances_default.json"))
    for image in document.loadImgs(document.getImgIds()):
        found = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in document.loadAnns(document.getAnnIds(image["id"])):
            found[document.annToMask(annotation) == 1] = annotation["category_id"]
        assert np.array_equal(found, masks[image["file_name"]])
    assert problems_of(out) == []

    again = convert(
        tmp_path / "in", out, "--from", "voc", "--to", "coco", "--block-samples", 3
    )  # fmt: skip
    assert again.returncode == 0
    assert json.loads(again.stdout)["done_now"] == 0

    other = convert(tmp_path / "in", out, "--from", "voc", "--to", "yolo")
    assert other.returncode == 2
    assert "different run" in other.stderr

    (out / "dataset/annotations/instances_default.json").write_text("{}")
    assert any("not what the rows give" in problem for problem in problems_of(out))


def test_a_bad_mask_is_a_failed_row_and_can_be_retried(tmp_path: Path) -> None:
    write_voc(tmp_path / "in", 4)
    victim = tmp_path / "in/SegmentationClass/photo 002.png"
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    arguments = (tmp_path / "in", tmp_path / "out", "--from", "voc", "--to", "cvat_mask")
    done = convert(*arguments)
    assert done.returncode == 3, done.stderr
    failed = [row for row in rows_of(tmp_path / "out") if row["status"] == "failed"]
    assert [row["key"] for row in failed] == ["photo 002"]
    assert "photo 002.png" in failed[0]["error_message"]
    victim.write_bytes(whole)
    done = convert(*arguments, "--retry-failed", "--check")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["check"]["lossless"]
    with zipfile.ZipFile(tmp_path / "out/dataset/segmentation_mask.zip") as archive:
        listed = archive.read("ImageSets/Segmentation/default.txt").decode().splitlines()
    assert listed == ["photo 000", "photo 002", "sub/photo 001", "sub/photo 003"]
    assert problems_of(tmp_path / "out") == []


def test_map_split_and_polygon_budget(tmp_path: Path) -> None:
    masks = write_voc(tmp_path / "in", 12)
    (tmp_path / "map.txt").write_text(
        "cat = animal\ndog = animal\nperson = @background\n* = @keep\n"
    )
    done = convert(
        tmp_path / "in", tmp_path / "out", "--from", "voc", "--to", "labelme_polygons",
        "--map", tmp_path / "map.txt", "--max-loss", 0.05, "--split", "train=0.5,val=0.5",
        "--check",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "out")
    assert all(row["min_iou"] >= 0.95 for row in rows)
    assert {row["split"] for row in rows} == {"train", "val"}
    names = {
        shape["label"]
        for path in (tmp_path / "out/dataset").rglob("*.json")
        for shape in json.loads(path.read_text())["shapes"]
    }
    assert "animal" in names
    assert not {"cat", "dog", "person"} & names
    assert len(masks) == len(rows)


def test_killed_and_resumed_is_byte_identical(tmp_path: Path) -> None:
    write_voc(tmp_path / "in", 120, side=120)
    arguments = ("--from", "voc", "--to", "coco_polygons", "--block-samples", 4, "--max-loss", 0.02)
    calm = convert(tmp_path / "in", tmp_path / "calm", *arguments)
    assert calm.returncode == 0, calm.stderr
    out = tmp_path / "killed"
    committed = 0
    for wanted in (1, 10):
        process = subprocess.Popen(
            command(tmp_path / "in", out, *arguments),
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            committed = len(list((out / "metadata").glob("block-*")))
            if committed >= wanted:
                break
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert committed >= wanted
    done = convert(tmp_path / "in", out, *arguments)
    assert done.returncode == 0, done.stderr
    assert digests(out / "dataset") == digests(tmp_path / "calm/dataset")
    assert problems_of(out) == []


def test_hostile_sources_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "slip.zip", "w") as archive:
        archive.writestr("SegmentationClass/a.png", b"x")
        archive.writestr("../../escaped.png", b"x")
    done = convert(tmp_path / "slip.zip", tmp_path / "out", "--from", "cvat_mask", "--to", "coco")
    assert done.returncode == 1
    assert "unsafe" in done.stderr
    assert not list(tmp_path.parent.glob("escaped.png"))
    laughs = (
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]>'
        '<annotations><image id="0" name="&c;" width="2" height="2"/></annotations>'
    )
    (tmp_path / "laughs.xml").write_text(laughs)
    done = convert(
        tmp_path / "laughs.xml", tmp_path / "o2", "--from", "cvat_images", "--to", "coco"
    )
    assert done.returncode == 1
    assert "entities" in done.stderr


def test_usage_errors(tmp_path: Path) -> None:
    assert convert(tmp_path).returncode == 2
    assert convert(tmp_path, tmp_path, "--from", "nonsense", "--to", "coco").returncode == 2
    missing = convert(tmp_path / "none", tmp_path / "o", "--from", "voc", "--to", "coco")
    assert missing.returncode == 2
    assert "nothing at" in missing.stderr
    listing = convert("--list")
    assert "cvat_mask" in json.loads(listing.stdout)
