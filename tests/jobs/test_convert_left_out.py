"""What a conversion leaves out: counted by kind, kept over a kill, and an exit code on request."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import maskmill
from maskmill.jobs.cli import main
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.errors import RunFailed
from tests.jobs.convert_in_process import convert_in_process as convert

SQUARE = [[1, 1, 5, 1, 5, 4, 1, 4]]  # columns 1 to 4, rows 1 to 3
OUTSIDE = [[50, 50, 60, 50, 60, 60]]


def write_coco(path: Path, *annotations: dict, pictures: int = 2) -> Path:
    """Pictures of 8 x 6 with annotations; each of them names its picture, or is of the first."""
    document = {
        "images": [{"id": number, "file_name": f"{number}.jpg", "width": 8, "height": 6}
                   for number in range(1, pictures + 1)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [{"id": number, "image_id": 1, "category_id": 1, "iscrowd": 0, **one}
                        for number, one in enumerate(annotations, 1)],
    }  # fmt: skip
    path.write_text(json.dumps(document))
    return path


EVERYTHING = (
    {"segmentation": SQUARE},
    {"segmentation": [], "bbox": [0, 0, 2, 2]},
    {"segmentation": [], "bbox": [0, 0, 2, 2], "image_id": 2},
    {"segmentation": [], "keypoints": [1, 1, 2]},
    {"segmentation": OUTSIDE},
    {"segmentation": SQUARE, "category_id": 2, "image_id": 2},
    {"segmentation": SQUARE, "image_id": 77},
    {"segmentation": SQUARE, "image_id": None},
    {"segmentation": [[2, 2, 3, 2, 3, 3, 2, 3]], "category_id": 2},
)
TOLD = {
    ("boxes", ""): 2, ("keypoints", ""): 1, ("no_pixel", ""): 1, ("unlisted", ""): 1,
    ("unusable", "annotations"): 1, ("contested", ""): 1,
}  # fmt: skip


def told(report: dict) -> dict[tuple[str, str], int]:
    return {(one["kind"], one["what"]): one["count"] for one in report["left_out"]}


def test_every_kind_is_counted_and_strict_says_so(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "coco.json", *EVERYTHING)
    arguments = (source, tmp_path / "out", "--from", "coco", "--to", "indexed", "--check")
    done = convert(*arguments)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert told(report) == TOLD
    assert (report["check"]["lossless"], report["check"]["kept"]) == (False, True)
    assert report["check"]["dropped"] == sum(TOLD.values())
    again = convert(*arguments, "--strict")
    assert again.exit_code == 3
    assert told(json.loads(again.stdout)) == TOLD
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["info"]["counts"] == {"pictures": 0, "left_out": report["left_out"]}
    proved = CliRunner().invoke(main, ["verify", str(tmp_path / "out"), "--json"])
    assert proved.exit_code == 0
    assert json.loads(proved.stdout) == {"out": str(tmp_path / "out"), "samples": 2, "problems": []}


BOX = {"segmentation": [], "bbox": [0, 0, 2, 2]}
POINTS = {"keypoints": [1, 1, 2]}


@pytest.mark.parametrize("options", [(), ("--strict",), ("--allow-failures", "--check")])
def test_boxes_alone_are_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Background masks would look like a result: refused before anything is written."""
    source = write_coco(tmp_path / "boxes.json", BOX, BOX, POINTS)
    arguments = (source, tmp_path / "out", "--from", "coco", "--to", "voc")
    for _ in range(2):
        done = convert(*arguments, *options)
        assert done.exit_code == 1, done.output
        assert "boxes.json: no masks in this document: 2 boxes, 1 key points;" in done.stderr
        assert "maskmill prelabel" in done.stderr
    assert not list((tmp_path / "out").rglob("*.png"))
    assert not (tmp_path / "out/run.json").exists()


def test_boxes_behind_many_pictures_of_nothing_are_refused_and_the_output_is_told(
    tmp_path: Path,
) -> None:
    """A few pictures are looked at before a run, all after it."""
    boxes = [{**BOX, "image_id": number} for number in (39, 40)]
    source = write_coco(tmp_path / "late.json", *boxes, pictures=40)
    done = convert(source, tmp_path / "out", "--from", "coco", "--to", "voc")
    assert done.exit_code == 1, done.output
    assert "no masks in this document: 2 boxes;" in done.stderr
    assert f"{tmp_path / 'out'} holds masks of background alone and can be deleted" in done.stderr
    assert not list((tmp_path / "out").rglob("*.txt"))  # VOC's own lists of its files
    assert json.loads((tmp_path / "out/run.json").read_text())["state"] != "finished"


def test_boxes_beside_one_mask_are_counted_and_empty_documents_are_background(
    tmp_path: Path,
) -> None:
    """Pictures of nothing are pictures of background; a shape outside its picture was one."""
    for name, annotations, expected in (
        ("one", (BOX, {"segmentation": SQUARE}), {("boxes", ""): 1}),
        ("outside", (BOX, {"segmentation": OUTSIDE}), {("boxes", ""): 1, ("no_pixel", ""): 1}),
        ("empty", (), {}),
    ):
        source = write_coco(tmp_path / f"{name}.json", *annotations)
        done = convert(source, tmp_path / name, "--from", "coco", "--to", "voc")
        assert done.exit_code == 0, done.output
        assert told(json.loads(done.stdout)) == expected


def test_yolo_boxes_are_refused(tmp_path: Path) -> None:
    """A folder of detection labels, as YOLO's own datasets are."""
    for folder in ("images/train", "labels/train"):
        (tmp_path / "in" / folder).mkdir(parents=True)
    for name, text in (("a", "0 0.5 0.5 0.2 0.2\n1 0.2 0.2 0.1 0.1\n"), ("b", "")):
        Image.new("RGB", (8, 6)).save(tmp_path / f"in/images/train/{name}.jpg")
        (tmp_path / f"in/labels/train/{name}.txt").write_text(text)
    (tmp_path / "in/data.yaml").write_text("names: [cat, dog]\ntrain: images/train\n")
    done = convert(tmp_path / "in", tmp_path / "out", "--from", "yolo", "--to", "indexed")
    assert done.exit_code == 1, done.output
    assert "no masks in this document: 2 boxes;" in done.stderr


def test_pictures_without_labels_are_counted(tmp_path: Path) -> None:
    for folder in ("images/train", "labels/train"):
        (tmp_path / "in" / folder).mkdir(parents=True)
    for name in ("a", "b", "c"):
        Image.new("RGB", (8, 6)).save(tmp_path / f"in/images/train/{name}.jpg")
    (tmp_path / "in/labels/train/a.txt").write_text("0 0.1 0.1 0.8 0.1 0.8 0.8\n")
    (tmp_path / "in/data.yaml").write_text("names: [cat]\ntrain: images/train\n")
    arguments = (tmp_path / "in", tmp_path / "out", "--from", "yolo", "--to", "indexed")
    for options, code in (((), 0), (("--strict",), 3)):
        done = convert(*arguments, *options)
        assert done.exit_code == code, done.output
        assert told(json.loads(done.stdout)) == {("unlabelled", ""): 2}
    assert "2 pictures have no label file (for example images/train/b.jpg)" in done.stderr


def test_the_summary_names_them_and_does_not_call_it_lossless(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "coco.json", *EVERYTHING)
    line = ["convert", str(source), str(tmp_path / "out"), "--from", "coco", "--to", "indexed",
            "--check", "--engine", "local"]  # fmt: skip
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    assert "left out:" in done.stdout
    assert "boxes without a mask: 2" in done.stdout
    assert "lossless" not in done.stdout
    whole = write_coco(tmp_path / "whole.json", {"segmentation": SQUARE})
    line[1:3] = [str(whole), str(tmp_path / "two")]
    done = CliRunner().invoke(main, [*line, "--strict"])
    assert done.exit_code == 0, done.output
    assert "left out" not in done.stdout and "lossless" in done.stdout


def test_counts_survive_a_lost_block(tmp_path: Path) -> None:
    """Some rows of an earlier start, some of this one: the same sums."""
    source = write_coco(tmp_path / "coco.json", *EVERYTHING, pictures=5)
    arguments = (source, tmp_path / "out", "--from", "coco", "--to", "coco", "--block-samples", 1)
    first = json.loads(convert(*arguments).stdout)
    layout = RunLayout(str(tmp_path / "out"))
    layout.delete(layout.block_path(0))
    again = json.loads(convert(*arguments).stdout)
    assert again["done_now"] == 1
    assert told(again) == told(first) == TOLD


def write_masks(folder: Path, *masks: np.ndarray) -> None:
    (folder / "masks").mkdir(parents=True)
    for number, mask in enumerate(masks):
        Image.fromarray(mask.astype(np.uint8)).save(folder / f"masks/{number}.png")
    (folder / "labels.txt").write_text("background\ncat\ndog\n")


def test_classes_that_a_map_drops_are_counted_in_pixels(tmp_path: Path) -> None:
    mask = np.zeros((4, 5))
    mask[0], mask[1, :3], mask[2, :2] = 1, 2, 255
    write_masks(tmp_path / "in", mask, mask)
    (tmp_path / "map.txt").write_text("cat = @background\ndog = @ignore\n* = @keep\n")
    arguments = (tmp_path / "in", tmp_path / "out", "--from", "masks", "--to", "indexed")
    done = convert(*arguments, "--map", tmp_path / "map.txt", "--strict")
    assert done.exit_code == 3, done.output
    assert told(json.loads(done.stdout)) == {
        ("to_background", "cat"): 10, ("to_ignore", "dog"): 6,
    }  # fmt: skip


def test_ignore_that_becomes_background_is_counted(tmp_path: Path) -> None:
    mask = np.zeros((4, 5))
    mask[0], mask[1, :3] = 1, 255
    write_masks(tmp_path / "in", mask)
    for target, expected in (("coco", {("to_background", "ignore"): 3}), ("voc", {})):
        done = convert(tmp_path / "in", tmp_path / target, "--from", "masks", "--to", target)
        assert done.exit_code == 0, done.output
        assert told(json.loads(done.stdout)) == expected


def test_values_of_no_class_that_are_ignored_are_counted(tmp_path: Path) -> None:
    mask = np.zeros((4, 5))
    mask[0, :4] = 77
    write_masks(tmp_path / "in", mask)
    arguments = (tmp_path / "in", tmp_path / "out", "--from", "masks", "--to", "indexed")
    done = convert(*arguments, "--unknown", "ignore")
    assert done.exit_code == 0, done.output
    assert told(json.loads(done.stdout)) == {("to_ignore", "values of no class"): 4}


def test_from_python_strict_raises(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "coco.json", *EVERYTHING)
    settings = {"from_format": "coco", "to_format": "indexed", "engine": "local"}
    done = maskmill.convert(source, tmp_path / "out", **settings)
    assert sum(done.result.counts.left_out.values()) == sum(TOLD.values())
    with pytest.raises(RunFailed, match="boxes without a mask: 2"):
        maskmill.convert(source, tmp_path / "out", strict=True, **settings)
