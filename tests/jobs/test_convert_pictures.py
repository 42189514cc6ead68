"""`convert --with-images`: every picture is copied, wherever it lies, or its sample fails."""

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from maskmill.pipeline.convert.proof import verify_conversion
from maskmill.pipeline.datasets.registry import DATASET_FORMATS, writable_formats
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.labels import builtin
from maskmill.schemas.tables.convert import CONVERSION
from tests.jobs.convert_in_process import convert_in_process as convert
from tests.jobs.convert_in_process import write_voc

KEYS = ("a.jpg", "sub/b.jpg")
TWO = "cat = @keep\nbackground = @keep\n* = @background\n"
QUICK = ("coco", "voc", "coco_results", "huggingface_parquet")


def write_run(folder: Path) -> dict[str, bytes]:
    """A finished prelabel run of two pictures; their bytes by key. Its masks hold no ignore."""
    pictures = {}
    for number, key in enumerate(KEYS):
        path = folder / "photos" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((6, 8, 3), 40 * number, np.uint8)
        Image.fromarray(pixels).save(path)
        pictures[key] = path.read_bytes()
        mask = folder / f"labels/masks/{key[:-4]}.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.eye(6, 8, dtype=np.uint8) * 8, "P")
        image.putpalette(builtin("voc").palette)
        image.save(mask)
    document = {
        "command": "prelabel", "identity": {}, "state": "finished",
        "label_map": builtin("voc").to_dict(), "model": {"name": "m", "weights_sha256": "0" * 64},
    }  # fmt: skip
    (folder / "labels/run.json").write_text(json.dumps(document))
    rows = [
        {"key": key, "uri": str(folder / "photos" / key), "status": "ok",
         "mask_path": f"masks/{key[:-4]}.png", "classes": []} for key in KEYS
    ]  # fmt: skip
    (folder / "labels/metadata").mkdir()
    pq.write_table(pa_table(rows), folder / "labels/metadata/block-0000000.parquet")
    return pictures


def pa_table(rows: list[dict]):
    inner = pa.struct([("index", pa.int32()), ("mean_confidence", pa.float64())])
    texts = [(name, pa.string()) for name in ("key", "uri", "status", "mask_path")]
    return pa.Table.from_pylist(rows, schema=pa.schema([*texts, ("classes", pa.list_(inner))]))


def rows_of(out: Path) -> list[dict]:
    return pq.read_table(out / "metadata", schema=CONVERSION).sort_by("image_id").to_pylist()


def check_target(tmp_path: Path, target: str, *, is_there: bool) -> None:
    """Both pictures are in the output, byte for byte: from --images, and from their own places."""
    pictures = write_run(tmp_path)
    if not is_there:  # the photographs have moved since
        (tmp_path / "photos").rename(tmp_path / "moved")
    where = tmp_path / ("photos" if is_there else "moved")
    (tmp_path / "two.txt").write_text(TWO)
    done = convert(
        tmp_path / "labels", tmp_path / "out", "--from", "prelabel", "--to", target,
        "--map", tmp_path / "two.txt", "--images", where, "--with-images", "--strict",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["pictures"] == len(KEYS)
    for row in rows_of(tmp_path / "out"):
        copied = (tmp_path / "out" / row["picture"]).read_bytes()
        assert copied == pictures[row["key"]]
        at = row["files"].index(row["picture"])
        assert hashlib.sha256(copied).hexdigest() == row["files_sha256"][at]
    steps = verify_conversion(RunLayout(str(tmp_path / "out")))
    assert [one for step in steps for one in step.problems] == []


@pytest.mark.parametrize("target", QUICK)
def test_pictures_of_a_run_that_have_moved(tmp_path: Path, target: str) -> None:
    check_target(tmp_path, target, is_there=False)


@pytest.mark.thorough
@pytest.mark.parametrize("target", writable_formats())
def test_every_target_takes_the_pictures_of_a_run(tmp_path: Path, target: str) -> None:
    if target == "tfrecord":
        pytest.importorskip("tfrecord")
    check_target(tmp_path, target, is_there=True)


def test_without_images_the_places_of_the_run_are_used(tmp_path: Path) -> None:
    pictures = write_run(tmp_path)
    arguments = (tmp_path / "labels", tmp_path / "out", "--from", "prelabel", "--to", "voc")
    done = convert(*arguments, "--with-images")
    assert done.exit_code == 0, done.output
    assert {row["key"]: (tmp_path / "out" / row["picture"]).read_bytes()
            for row in rows_of(tmp_path / "out")} == pictures  # fmt: skip


def test_a_picture_that_is_not_there_fails_its_sample_alone(tmp_path: Path) -> None:
    write_voc(tmp_path / "in", 3)
    (tmp_path / "in/JPEGImages/sub").mkdir(parents=True)
    for name in ("photo 000", "sub/photo 001"):
        Image.new("RGB", (40, 40)).save(tmp_path / f"in/JPEGImages/{name}.jpg")
    arguments = (tmp_path / "in", tmp_path / "out", "--from", "voc", "--to", "coco")
    done = convert(*arguments, "--with-images", "--check")
    assert done.exit_code == 3, done.output
    report = json.loads(done.stdout)
    assert report["ledger"]["failures"] == {"missing_image": 1}
    assert report["pictures"] == 2
    assert not report["check"]["lossless"], "one of three samples is not there"
    (failed,) = [row for row in rows_of(tmp_path / "out") if row["status"] == "failed"]
    assert failed["key"] == "photo 002" and "--images" in failed["error_message"]


def test_a_format_that_always_holds_pictures_counts_those_it_lacks(tmp_path: Path) -> None:
    assert DATASET_FORMATS["huggingface_parquet"].takes_images
    write_voc(tmp_path / "in", 2)
    arguments = (tmp_path / "in", tmp_path / "out", "--from", "voc")
    done = convert(*arguments, "--to", "huggingface_parquet", "--strict")
    assert done.exit_code == 3, done.output
    assert {"kind": "pictures", "what": "", "count": 2} in json.loads(done.stdout)["left_out"]


@pytest.mark.parametrize("source", ["voc", "masks_per_class"])
def test_pictures_that_lie_deeper_keep_their_kind(tmp_path: Path, source: str) -> None:
    """PNG photographs two folders down are copied as PNGs, not under the name of a JPEG."""
    if source == "voc":
        write_voc(tmp_path / "in", 1)
        name = "photo 000"
    else:
        name = "a"
        (tmp_path / "in").mkdir()
        Image.fromarray(np.full((4, 5), 255, np.uint8)).save(tmp_path / "in/a_cat.png")
        (tmp_path / "in/classes.txt").write_text("background\ncat\n")
    (tmp_path / "photos/2021/may").mkdir(parents=True)
    size = (40, 40) if source == "voc" else (5, 4)
    Image.new("RGB", size).save(tmp_path / f"photos/2021/may/{name}.png")
    done = convert(
        tmp_path / "in", tmp_path / "out", "--from", source, "--to", "voc", "--with-images",
        "--images", tmp_path / "photos",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (row,) = rows_of(tmp_path / "out")
    assert row["picture"] == f"dataset/JPEGImages/{name}.png"


def save_turned(path: Path, size: tuple[int, int], orientation: int) -> None:
    """A photograph stored as ``size`` (width, height) with an EXIF orientation."""
    picture = Image.new("RGB", size)
    picture.getexif()[0x0112] = orientation
    picture.save(path, exif=picture.getexif())


def test_pictures_of_another_size_than_their_masks(tmp_path: Path) -> None:
    """Masks are as the pictures are shown: a turned photograph fits, a shrunk one does not."""
    (tmp_path / "masks").mkdir()
    (tmp_path / "photos").mkdir()
    for name in ("shown", "stored", "shrunk", "broken"):
        Image.fromarray(np.ones((60, 40), np.uint8)).save(tmp_path / f"masks/{name}.png")
    save_turned(tmp_path / "photos/shown.jpg", (60, 40), 6)
    save_turned(tmp_path / "photos/stored.jpg", (40, 60), 6)
    Image.new("RGB", (20, 30)).save(tmp_path / "photos/shrunk.jpg")
    (tmp_path / "photos/broken.jpg").write_bytes(b"<html>404</html>")
    (tmp_path / "labels.txt").write_text("background\ncat\n")
    done = convert(
        tmp_path / "masks", tmp_path / "out", "--from", "masks", "--to", "coco", "--labels",
        tmp_path / "labels.txt", "--images", tmp_path / "photos", "--with-images",
    )  # fmt: skip
    assert done.exit_code == 3, done.output
    report = json.loads(done.stdout)
    assert report["pictures"] == 1
    assert report["ledger"]["failures"] == {
        "not_an_image": 1, "orientation_mismatch": 1, "size_mismatch": 1
    }  # fmt: skip
    told = {row["error_code"]: row["error_message"] for row in rows_of(tmp_path / "out")}
    assert "the mask has 40x60 pixels and its picture, shrunk.jpg, 20x30" in told["size_mismatch"]
    assert "60x40 as it is shown" in told["orientation_mismatch"]
    assert "EXIF" in told["orientation_mismatch"]
    assert list(copied_by_name(tmp_path / "out")) == ["shown.jpg"]


def photographs(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in names:
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).save(folder / name)
    return {name: (folder / name).read_bytes() for name in names}


def copied_by_name(out: Path) -> dict[str, bytes]:
    copied = [row["picture"] for row in rows_of(out) if row["picture"]]
    return {Path(picture).name: (out / picture).read_bytes() for picture in copied}


def test_pictures_inside_parquet_need_no_folder(tmp_path: Path) -> None:
    """Written by `datasets`' own layout: struct<bytes, path>; a path without ending is named by
    what the bytes are."""
    names = ("a.jpg", "b.png", "c.tif")
    pictures = photographs(tmp_path / "photos", names)
    mask = tmp_path / "mask.png"
    Image.fromarray(np.eye(6, 8, dtype=np.uint8)).save(mask)
    cell = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [
        {"image": {"bytes": data, "path": None if name == "b.png" else f"/home/x/{name}"},
         "mask": {"bytes": mask.read_bytes(), "path": None}, "file_name": name[:-4]}
        for name, data in pictures.items()
    ]  # fmt: skip
    schema = pa.schema([("image", cell), ("mask", cell), ("file_name", pa.string())])
    (tmp_path / "in/data").mkdir(parents=True)
    pq.write_table(
        pa.Table.from_pylist(rows, schema=schema),
        tmp_path / "in/data/train-00000-of-00001.parquet",
    )
    (tmp_path / "in/id2label.json").write_text('{"0": "background", "1": "cat"}')
    source = (tmp_path / "in", tmp_path / "out", "--from", "huggingface_parquet")
    done = convert(*source, "--to", "voc", "--with-images", "--check")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["pictures"] == len(names)
    assert copied_by_name(tmp_path / "out") == pictures


def test_pictures_inside_labelme_documents(tmp_path: Path) -> None:
    """labelme keeps the picture in the document (`imageData`) unless it is told not to."""
    (picture,) = photographs(tmp_path / "photos", ("a.png",)).values()
    shape = {"label": "cat", "points": [[1, 1], [5, 1], [5, 4]], "shape_type": "polygon"}
    document = {
        "version": "5.5.0", "flags": {}, "imagePath": "a.png", "imageHeight": 6, "imageWidth": 8,
        "shapes": [shape], "imageData": base64.b64encode(picture).decode(),
    }  # fmt: skip
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.json").write_text(json.dumps(document))
    arguments = ("--from", "labelme", "--to", "coco", "--with-images")
    done = convert(tmp_path / "in", tmp_path / "out", *arguments)
    assert done.exit_code == 0, done.output
    assert copied_by_name(tmp_path / "out") == {"a.png": picture}
    (tmp_path / "in/a.json").write_text(json.dumps({**document, "imageData": "%%%"}))
    done = convert(tmp_path / "in", tmp_path / "bad", *arguments)
    assert done.exit_code == 3, done.output
    (row,) = rows_of(tmp_path / "bad")
    assert "a.json: imageData" in row["error_message"]


def test_masks_and_pictures_of_one_name_in_two_folders(tmp_path: Path) -> None:
    """masks/a.png and photos/a.png have one relative name and are two files."""
    for folder, value in (("masks", 1), ("photos", 99)):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((4, 5), value, np.uint8)).save(tmp_path / folder / "a.png")
    (tmp_path / "labels.txt").write_text("background\ncat\n")
    done = convert(
        tmp_path / "masks", tmp_path / "out", "--from", "masks", "--to", "voc", "--labels",
        tmp_path / "labels.txt", "--images", tmp_path / "photos", "--with-images",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    picture = Image.open(tmp_path / "out/dataset/JPEGImages/a.png")
    assert np.asarray(picture).max() == 99
