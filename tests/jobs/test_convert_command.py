"""`maskmill convert` as people use it, without the engine: options, exit codes, hostile input."""

import io
import json
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from maskmill.jobs.cli import main
from maskmill.pipeline.convert.proof import verify_conversion
from maskmill.pipeline.datasets.registry import DATASET_FORMATS
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.tables.convert import CONVERSION
from tests.jobs.convert_in_process import convert_in_process as convert
from tests.jobs.convert_in_process import write_voc
from tests.jobs.in_process import run_in_process
from tests.sick_images import write_small_pictures


def rows_of(out: Path) -> list[dict]:
    return pq.read_table(out / "metadata", schema=CONVERSION).sort_by("image_id").to_pylist()


def write_photos(folder: Path, count: int) -> None:
    """A picture for each mask of write_voc."""
    for number in range(count):
        path = folder / f"{'sub/' if number % 2 else ''}photo {number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40)).save(path)


def problems_of(out: Path) -> list[str]:
    return [one for step in verify_conversion(RunLayout(str(out))) for one in step.problems]


def test_a_bad_mask_is_a_failed_row_and_can_be_retried(tmp_path: Path) -> None:
    write_voc(tmp_path / "in", 4)
    victim = tmp_path / "in/SegmentationClass/photo 002.png"
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    arguments = (tmp_path / "in", tmp_path / "out", "--from", "voc", "--to", "cvat_mask",
                 "--block-samples", 2)  # fmt: skip
    done = convert(*arguments)
    assert done.exit_code == 3, done.stderr
    failed = [row for row in rows_of(tmp_path / "out") if row["status"] == "failed"]
    assert [row["key"] for row in failed] == ["photo 002"]
    assert "photo 002.png" in failed[0]["error_message"]
    assert convert(*arguments, "--allow-failures").exit_code == 0
    victim.write_bytes(whole)
    done = convert(*arguments, "--retry-failed", "--check")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["done_now"] == 1
    assert report["check"]["lossless"]
    with zipfile.ZipFile(tmp_path / "out/dataset/segmentation_mask.zip") as archive:
        listed = archive.read("ImageSets/Segmentation/default.txt").decode().splitlines()
    assert listed == ["photo 000", "photo 002", "sub/photo 001", "sub/photo 003"]
    assert problems_of(tmp_path / "out") == []


def test_where_nothing_could_be_converted_there_is_nothing_to_check(tmp_path: Path) -> None:
    """One file per class holds no ignore: every sample fails, and the rows say why."""
    write_voc(tmp_path / "in", 2)
    for path in (tmp_path / "in").rglob("*.png"):
        image = Image.open(path)
        image.putpixel((0, 0), 255)
        image.save(path)
    done = convert(
        tmp_path / "in", tmp_path / "out", "--from", "voc", "--to", "masks_per_class", "--check"
    )
    assert done.exit_code == 3, done.stderr
    report = json.loads(done.stdout)
    assert report["ledger"]["failures"] == {"cannot_hold": 2}
    assert report["check"] is None


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
    assert done.exit_code == 0, done.stderr
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


@pytest.mark.parametrize(
    ("target", "checked_by"),
    [
        ("coco", "pycocotools"), ("labelme", "own reader"),
        ("yolo", "own reader, drawn by pycocotools"), ("voc", "own reader, pictures by OpenCV"),
        ("panoptic", "own reader, pictures by OpenCV"),
    ],
)  # fmt: skip
def test_check_says_whose_decoders_it_used(tmp_path: Path, target: str, checked_by: str) -> None:
    write_voc(tmp_path / "in", 3)
    write_photos(tmp_path / "photos", 3)
    done = convert(
        tmp_path / "in", tmp_path / "out", "--from", "voc", "--to", target, "--check",
        "--max-loss", 0, "--images", tmp_path / "photos", "--with-images",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["check"]["checked_by"] == checked_by


def test_verify_finds_what_was_changed(tmp_path: Path) -> None:
    write_voc(tmp_path / "in", 4)
    out = tmp_path / "out"
    done = convert(tmp_path / "in", out, "--from", "voc", "--to", "voc", "--block-samples", 2)
    assert done.exit_code == 0, done.stderr
    runner = CliRunner()
    assert runner.invoke(main, ["verify", str(out)]).exit_code == 0
    changed, gone = (out / f"dataset/SegmentationClass/photo 00{number}.png" for number in (0, 2))
    changed.write_bytes(changed.read_bytes()[:-1])
    gone.unlink()
    (out / "dataset/labelmap.txt").write_text("background:0,0,0::\n")
    (out / "metadata/block-0000001.parquet").unlink()
    done = runner.invoke(main, ["verify", str(out)])
    assert done.exit_code == 1
    found = problems_of(out)
    for told in (
        "photo 000.png is not what was written", "photo 002.png is missing",
        "labelmap.txt is not what the rows give", "2 items of the manifest have no row",
        "run.json: the ledger says ok 4, counted 2",
    ):  # fmt: skip
        assert any(told in problem for problem in found), (told, found)


CHECKED = [
    name
    for name, entry in DATASET_FORMATS.items()
    if entry.can_read and entry.can_write and entry.max_classes > 2
]


@pytest.mark.parametrize("target", CHECKED)
def test_splits_of_any_name_pass_the_check(tmp_path: Path, target: str) -> None:
    write_voc(tmp_path / "in", 4)
    write_photos(tmp_path / "photos", 4)
    done = convert(
        tmp_path / "in", tmp_path / "out", "--from", "voc", "--to", target, "--check",
        "--max-loss", 0, "--split", "train=0.3,fold 1=0.7",
        "--images", tmp_path / "photos", "--with-images",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["check"]["lossless"]
    assert report["check"]["samples"] == 4
    assert problems_of(tmp_path / "out") == []


def test_packages_come_with_the_command_that_imports_each(tmp_path: Path) -> None:
    write_voc(tmp_path / "in", 5)
    arguments = (tmp_path / "in", tmp_path / "out", "--from", "voc", "--to", "cvat_mask",
                 "--max-package-images", 2)  # fmt: skip
    done = convert(*arguments, "--check")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["check"]["lossless"]
    assert [line.rpartition("/")[2] for line in report["import"]] == [
        f"segmentation_mask-0000{number}-of-00003.zip" for number in range(3)
    ]
    start = 'cvat-cli task import-dataset --format "Segmentation mask 1.1" TASK_ID '
    assert all(line.startswith(start) for line in report["import"])
    assert problems_of(tmp_path / "out") == []
    other = convert(*arguments[:-1], 3)
    assert other.exit_code == 2
    assert "package" in other.stderr
    wrong = convert(tmp_path / "in", tmp_path / "wrong", "--from", "voc", "--to", "coco",
                    "--max-package-mb", 1)  # fmt: skip
    assert wrong.exit_code == 2
    assert "not written in packages" in wrong.stderr


def refused(source: Path, out: Path, from_format: str) -> Result:
    """A conversion that must end with 1, with nothing written but the empty run."""
    done = convert(source, out, "--from", from_format, "--to", "coco")
    assert done.exit_code == 1, done.output
    assert not (out / "dataset").exists()
    return done


def slip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("SegmentationClass/a.png", b"x")
        archive.writestr("../../escaped.png", b"x")


def absolute(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("/tmp/escaped.png", b"x")


def link(path: Path) -> None:
    info = zipfile.ZipInfo("SegmentationClass/a.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("SegmentationClass/a.png", bytes(80 << 20))


def tar_link(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("SegmentationClass/a.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)


@pytest.mark.parametrize(
    ("write", "name", "told"),
    [
        (slip, "a.zip", "points outside"), (absolute, "a.zip", "points outside"),
        (link, "a.zip", "is a link"), (tar_link, "a.tar", "is a link"), (bomb, "a.zip", "bomb"),
    ],
)  # fmt: skip
def test_hostile_archives_are_refused_before_anything_is_written(
    tmp_path: Path, write: Callable[[Path], None], name: str, told: str
) -> None:
    write(tmp_path / name)
    assert told in refused(tmp_path / name, tmp_path / "out", "voc").stderr
    assert not list(tmp_path.parent.glob("escaped.png"))


LAUGHS = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]>'


def test_entities_are_refused(tmp_path: Path) -> None:
    (tmp_path / "laughs.xml").write_text(
        LAUGHS + '<annotations><image id="0" name="&c;" width="2" height="2"/></annotations>'
    )
    done = refused(tmp_path / "laughs.xml", tmp_path / "o1", "cvat_images")
    assert "entities" in done.stderr
    (tmp_path / "ls").mkdir()
    (tmp_path / "ls/labeling_config.xml").write_text(LAUGHS + "<View>&c;</View>")
    (tmp_path / "ls/tasks.json").write_text('[{"data": {"image": "a.jpg"}}]')
    assert "entities" in refused(tmp_path / "ls", tmp_path / "o2", "label_studio").stderr


def test_absurd_sizes_in_run_lengths_are_failed_rows(tmp_path: Path) -> None:
    sizes = {"huge.jpg": 60_000, "good.jpg": 4, "long.jpg": 4}
    segmentations = [
        {"size": [60_000, 60_000], "counts": "0" * 10},
        {"size": [4, 4], "counts": [0, 16]},
        {"size": [4, 4], "counts": [0, 2**31]},
    ]
    document = {
        "images": [
            {"id": number, "file_name": name, "width": side, "height": side}
            for number, (name, side) in enumerate(sizes.items())
        ],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1, "segmentation": segmentation}
            for number, segmentation in enumerate(segmentations)
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(document))
    done = convert(tmp_path / "coco.json", tmp_path / "out", "--from", "coco", "--to", "indexed")
    assert done.exit_code == 3, done.stderr
    assert {row["key"]: row["error_code"] for row in rows_of(tmp_path / "out")} == {
        "good.jpg": None, "huge.jpg": "unsafe_size", "long.jpg": "unsafe_size",
    }  # fmt: skip


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_absurd_sizes_in_headers_are_failed_rows(tmp_path: Path) -> None:
    write_voc(tmp_path / "in", 1)
    (tmp_path / "in/SegmentationClass/bomb.png").write_bytes(png_header(60_000, 60_000))
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(stream, "TIFF")
    (tmp_path / "in/SegmentationClass/cut.tif").write_bytes(stream.getvalue()[:60])
    done = convert(tmp_path / "in", tmp_path / "out", "--from", "voc", "--to", "coco")
    assert done.exit_code == 3, done.stderr
    codes = {row["key"]: row["error_code"] for row in rows_of(tmp_path / "out")}
    assert codes["photo 000"] is None
    assert codes["bomb"] == "too_many_pixels"
    assert codes["cut"] in ("truncated", "corrupt", "not_an_image")


def test_names_that_leave_the_folder_are_failed_rows(tmp_path: Path) -> None:
    for number, name in enumerate(("../../etc/passwd", "/etc/passwd")):
        document = {
            "images": [{"id": 1, "file_name": name, "width": 2, "height": 2}],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [],
        }
        (tmp_path / "coco.json").write_text(json.dumps(document))
        out = tmp_path / f"out{number}"
        done = convert(tmp_path / "coco.json", out, "--from", "coco", "--to", "labelme")
        assert done.exit_code == 3, done.stderr
        (row,) = rows_of(out)
        assert (row["status"], row["error_code"]) == ("failed", "unsafe_path")
        assert not list((out / "dataset").rglob("*passwd*"))


def test_what_belongs_to_no_picture_is_counted_and_said(tmp_path: Path) -> None:
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 4, "height": 4}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": number, "image_id": image, "category_id": 1, "iscrowd": 0,
             "segmentation": {"size": [4, 4], "counts": [0, 16]}}
            for number, image in ((1, 1), (2, 99))
        ],
    }  # fmt: skip
    (tmp_path / "coco.json").write_text(json.dumps(document))
    done = convert(tmp_path / "coco.json", tmp_path / "out", "--from", "coco", "--to", "indexed")
    assert done.exit_code == 0, done.stderr
    assert "note: " in done.stderr and "1 annotation" in done.stderr


def test_usage_errors(tmp_path: Path) -> None:
    assert convert(tmp_path).exit_code == 2
    assert convert(tmp_path, tmp_path, "--from", "nonsense", "--to", "coco").exit_code == 2
    missing = convert(tmp_path / "none", tmp_path / "o", "--from", "voc", "--to", "coco")
    assert missing.exit_code == 2
    assert "nothing at" in missing.stderr
    listing = convert("--list")
    assert "cvat_mask" in json.loads(listing.stdout)


def test_who_made_the_labels_goes_with_them(tmp_path):
    write_small_pictures(tmp_path / "in", 2, seed=8)
    run_in_process(tmp_path / "in", tmp_path / "labels")
    made = ("--from", "prelabel", "--check")
    for target in ("label_studio", "coco"):
        result = convert(tmp_path / "labels", tmp_path / target, "--to", target, *made)
        assert result.exit_code == 0, result.stderr
    (task, *_) = json.loads((tmp_path / "label_studio/dataset/tasks.json").read_text())
    model = task["predictions"][0]["model_version"]
    assert model == "deeplabv3_mobilenet_v3_large (untrained)"  # random weights have no hash
    (document,) = (tmp_path / "coco/dataset").rglob("*.json")
    assert json.loads(document.read_text())["info"]["model"] == model
