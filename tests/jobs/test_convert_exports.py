"""Exports of other tools, with their warts, as those tools write them: to masks and on."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from maskmill.pipeline.datasets.documents.label_studio_brush import mask_to_brush
from maskmill.schemas.tables.convert import CONVERSION
from tests.jobs.convert_in_process import convert_in_process as convert

SQUARE = [2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]
"""Columns 2 to 5, rows 1 to 3 of a picture of 10 x 8."""
WIDTH, HEIGHT = 10, 8


def square(value: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[1:4, 2:6] = value
    return mask


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90)).save(path)


def mask_of(out: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(out / f"dataset/masks/{name}.png"))


def rows_of(out: Path) -> dict[str, dict]:
    rows = pq.read_table(out / "metadata", schema=CONVERSION).to_pylist()
    return {row["key"]: row for row in rows}


def told(stdout: str) -> dict[tuple[str, str], int]:
    """What the command says it left out."""
    return {(one["kind"], one["what"]): one["count"] for one in json.loads(stdout)["left_out"]}


def to_masks(source: Path, out: Path, kind: str, *more: object) -> dict[tuple[str, str], int]:
    done = convert(source, out, "--from", kind, "--to", "indexed", *more)
    assert done.exit_code == 0, done.output
    return told(done.stdout)


def roboflow_coco(folder: Path) -> None:
    """Three folders, each with its pictures and ``_annotations.coco.json``; a class comes twice."""
    for split, names in (("train", ["a", "b"]), ("valid", ["c"]), ("test", ["d"])):
        images, annotations = [], []
        for number, name in enumerate(names):
            file_name = f"{name}_jpg.rf.0123456789abcdef.jpg"
            photo(folder / split / file_name)
            images.append({"id": number, "license": 1, "file_name": file_name,
                           "height": HEIGHT, "width": WIDTH})  # fmt: skip
            annotations.append({"id": number, "image_id": number, "category_id": 1,
                                "bbox": [2, 1, 4, 3], "area": 12, "iscrowd": 0,
                                "segmentation": [SQUARE]})  # fmt: skip
        annotations.append({"id": 9, "image_id": 0, "category_id": 1, "bbox": [0, 0, 2, 2],
                            "area": 4, "segmentation": [], "iscrowd": 0})  # fmt: skip
        document = {
            "info": {"year": "2024"}, "licenses": [{"id": 1, "url": "", "name": ""}],
            "categories": [{"id": 0, "name": "fish", "supercategory": "none"},
                           {"id": 1, "name": "fish", "supercategory": "fish"}],
            "images": images, "annotations": annotations,
        }  # fmt: skip
        (folder / split / "_annotations.coco.json").write_text(json.dumps(document))


def test_roboflow_coco(tmp_path: Path) -> None:
    roboflow_coco(tmp_path / "in")
    left = to_masks(tmp_path / "in", tmp_path / "out", "coco", "--with-images")
    assert left == {("boxes", ""): 3}
    rows = rows_of(tmp_path / "out")
    assert {key[0]: row["split"] for key, row in rows.items()} == {
        "a": "train", "b": "train", "c": "valid", "d": "test",
    }  # fmt: skip
    for key in rows:
        assert np.array_equal(mask_of(tmp_path / "out", key[:-4]), square(1))


def test_roboflow_yolo(tmp_path: Path) -> None:
    """Splits above images/ and labels/, and one name in two of them."""
    ring = " ".join(f"{number / side:.9f}" for number, side in
                    zip(SQUARE, [WIDTH, HEIGHT] * 4, strict=True))  # fmt: skip
    for split in ("train", "valid"):
        photo(tmp_path / f"in/{split}/images/a.jpg")
        (tmp_path / f"in/{split}/labels").mkdir()
        (tmp_path / f"in/{split}/labels/a.txt").write_text(f"1 {ring}\n0 0.5 0.5 0.2 0.2\n")
    photo(tmp_path / "in/train/images/empty.jpg")
    (tmp_path / "in/data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\n"
        "nc: 2\nnames: ['cat', 'dog']\n\nroboflow:\n  workspace: w\n  project: p\n"
    )
    done = convert(tmp_path / "in", tmp_path / "out", "--from", "yolo", "--to", "coco",
                   "--with-images")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "1 pictures have no label file" in done.stderr
    rows = rows_of(tmp_path / "out")
    assert {key: (row["split"], row["status"]) for key, row in rows.items()} == {
        "train/a.jpg": ("train", "ok"), "valid/a.jpg": ("valid", "ok"),
    }  # fmt: skip
    (tmp_path / "in/valid/images/a.jpg").rename(tmp_path / "in/valid/images/b.jpg")
    (tmp_path / "in/valid/labels/a.txt").rename(tmp_path / "in/valid/labels/b.txt")
    left = to_masks(tmp_path / "in", tmp_path / "two", "yolo")
    assert left == {("boxes", ""): 2, ("unlabelled", ""): 1}
    assert {key: row["split"] for key, row in rows_of(tmp_path / "two").items()} == {
        "a.jpg": "train", "b.jpg": "valid",
    }  # fmt: skip
    assert np.array_equal(mask_of(tmp_path / "two", "b"), square(2))


def test_label_studio_yolo(tmp_path: Path) -> None:
    """images/, labels/, classes.txt and notes.json, uploaded names with their hash."""
    photo(tmp_path / "in/images/1a2b3c4d-a.jpg")
    (tmp_path / "in/labels").mkdir()
    (tmp_path / "in/labels/1a2b3c4d-a.txt").write_text("0 0.2 0.125 0.6 0.125 0.6 0.5 0.2 0.5\n")
    (tmp_path / "in/classes.txt").write_text("cat\ndog\n")
    (tmp_path / "in/notes.json").write_text('{"categories": [{"id": 0, "name": "cat"}]}')
    assert to_masks(tmp_path / "in", tmp_path / "out", "yolo") == {}
    assert np.array_equal(mask_of(tmp_path / "out", "1a2b3c4d-a"), square(1))


def test_cvat_coco(tmp_path: Path) -> None:
    """Masks as plain RLE with iscrowd 1, attributes, a skeleton, pictures in images/<subset>/."""
    counts, flat = [], square(1).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges.tolist(), flat.size]).tolist()
    common = {"image_id": 1, "category_id": 1, "attributes": {"occluded": False}}
    document = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "description": "", "year": ""},
        "categories": [{"id": 1, "name": "cat", "supercategory": ""},
                       {"id": 2, "name": "person", "supercategory": "", "keypoints": ["nose"],
                        "skeleton": []}],
        "images": [{"id": 1, "width": WIDTH, "height": HEIGHT, "file_name": "sub/a.jpg",
                    "license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0}],
        "annotations": [
            {"id": 1, **common, "segmentation": {"counts": counts, "size": [HEIGHT, WIDTH]},
             "area": 12.0, "bbox": [2.0, 1.0, 4.0, 3.0], "iscrowd": 1},
            {"id": 2, **common, "category_id": 2, "keypoints": [1, 1, 2], "num_keypoints": 1,
             "segmentation": [], "area": 1.0, "bbox": [1, 1, 1, 1], "iscrowd": 0},
        ],
    }  # fmt: skip
    (tmp_path / "in/annotations").mkdir(parents=True)
    (tmp_path / "in/annotations/instances_default.json").write_text(json.dumps(document))
    photo(tmp_path / "in/images/default/sub/a.jpg")
    left = to_masks(tmp_path / "in", tmp_path / "out", "coco", "--with-images")
    assert left == {("keypoints", ""): 1}
    assert np.array_equal(mask_of(tmp_path / "out", "sub/a"), square(1))


def test_documents_without_classes_are_named_and_passed_over(tmp_path: Path) -> None:
    """COCO's folder of annotations holds image_info and captions beside instances."""
    images = [{"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT}]
    square_of_cat = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [SQUARE]}
    instances = {"images": images, "categories": [{"id": 1, "name": "cat"}],
                 "annotations": [square_of_cat]}  # fmt: skip
    captions = {"images": images, "annotations": [{"id": 1, "image_id": 1, "caption": "a cat"}]}
    (tmp_path / "in").mkdir()
    for name, document in {"instances_val": instances, "captions_val": captions,
                           "image_info_val": {"images": images}}.items():  # fmt: skip
        (tmp_path / f"in/{name}.json").write_text(json.dumps(document))
    done = convert(tmp_path / "in", tmp_path / "out", "--from", "coco", "--to", "indexed")
    assert done.exit_code == 0, done.output
    assert "captions_val.json lists pictures and no classes: not taken" in done.stderr
    assert np.array_equal(mask_of(tmp_path / "out", "a"), square(1))


def test_label_studio_coco_without_sizes(tmp_path: Path) -> None:
    """Ids from 0 for pictures and classes; a picture it could not open has no size there."""
    document = {
        "images": [{"width": None, "height": None, "id": 0, "file_name": "images/5f-a.jpg"},
                   {"width": None, "height": None, "id": 1, "file_name": "images/gone.jpg"}],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 0, "segmentation": [SQUARE],
                         "bbox": [2, 1, 4, 3], "ignore": 0, "iscrowd": 0, "area": 12}],
        "info": {"year": 2024, "version": "1.0", "contributor": "Label Studio"},
    }  # fmt: skip
    (tmp_path / "in").mkdir()
    (tmp_path / "in/result.json").write_text(json.dumps(document))
    photo(tmp_path / "in/images/5f-a.jpg")
    done = convert(tmp_path / "in", tmp_path / "out", "--from", "coco", "--to", "indexed")
    assert done.exit_code == 3, done.output
    rows = rows_of(tmp_path / "out")
    assert np.array_equal(mask_of(tmp_path / "out", "images/5f-a"), square(1))
    assert "--images" in rows["images/gone.jpg"]["error_message"]


def brush(label: str, mask: np.ndarray) -> dict:
    return {"format": "rle", "rle": mask_to_brush(mask > 0), "brushlabels": [label]}


SIZE = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}


def label_studio_json(folder: Path) -> None:
    result = [
        {**SIZE, "id": "x", "type": "brushlabels", "from_name": "tag", "to_name": "image",
         "origin": "manual", "value": brush("cat", square(1))},
        {**SIZE, "id": "y", "type": "rectanglelabels", "from_name": "box", "to_name": "image",
         "value": {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["dog"]}},
        {"id": "z", "type": "choices", "from_name": "c", "to_name": "image",
         "value": {"choices": ["good"]}},
    ]  # fmt: skip
    tasks = [
        {"id": 1, "data": {"image": "/data/upload/1/1a2b3c4d-a.jpg"}, "predictions": [],
         "annotations": [{"id": 5, "completed_by": 1, "result": result, "was_cancelled": False},
                         {"id": 6, "completed_by": 2, "result": result, "was_cancelled": False},
                         {"id": 7, "completed_by": 2, "result": [], "was_cancelled": True}]},
        {"id": 2, "data": {"image": "/data/upload/1/5e6f7a8b-b.jpg"}, "predictions": [],
         "annotations": [{"id": 8, "completed_by": 1, "result": [], "was_cancelled": False}]},
        {"id": 3, "annotations": []},
    ]  # fmt: skip
    (folder / "tasks.json").write_text(json.dumps(tasks))


def test_label_studio_json(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    label_studio_json(tmp_path / "in")
    for name in ("a", "b"):
        photo(tmp_path / f"photos/{name}.jpg")
    done = convert(tmp_path / "in/tasks.json", tmp_path / "out", "--from", "label_studio", "--to",
                   "indexed", "--images", tmp_path / "photos", "--with-images")  # fmt: skip
    assert done.exit_code == 3, done.output  # the task without data; the empty one has its picture
    assert json.loads(done.stdout)["ledger"] == {
        "inputs": 3, "ok": 2, "failed": 1, "failures": {"malformed": 1}, "pending": 0,
    }  # fmt: skip
    assert told(done.stdout) == {
        ("boxes", ""): 1, ("shapes", "choices"): 1, ("other_results", ""): 3,
    }  # fmt: skip
    assert np.array_equal(mask_of(tmp_path / "out", "data/upload/1/1a2b3c4d-a"), square(1))
    assert not mask_of(tmp_path / "out", "data/upload/1/5e6f7a8b-b").any()


def test_label_studio_json_min(tmp_path: Path) -> None:
    record = {
        "image": "/data/upload/1/1a2b3c4d-a.jpg", "id": 1,
        "tag": [{**brush("cat", square(1)), "original_width": WIDTH, "original_height": HEIGHT}],
        "box": [{"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["dog"],
                 "original_width": WIDTH, "original_height": HEIGHT}],
        "quality": "good", "annotator": 1, "annotation_id": 5,
        "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z",
        "lead_time": 3.5,
    }  # fmt: skip
    (tmp_path / "min.json").write_text(json.dumps([record]))
    left = to_masks(tmp_path / "min.json", tmp_path / "out", "label_studio")
    assert left == {("boxes", ""): 1}
    assert np.array_equal(mask_of(tmp_path / "out", "data/upload/1/1a2b3c4d-a"), square(1))


def test_label_studio_png(tmp_path: Path) -> None:
    """A file per region; class names with dashes; an older annotation; the tasks tell pictures."""
    folder = tmp_path / "in"
    folder.mkdir()
    layers = {
        "task-1-annotation-6-by-1-tag-cat-0": square(255),
        "task-1-annotation-6-by-1-tag-road-sign-0": np.fliplr(square(255)),
        "task-1-annotation-2-by-me@x.org-tag-cat-0": square(255),
        "task-2-annotation-9-by-1-tag-cat-0": square(255),
    }
    for name, array in layers.items():
        Image.fromarray(array).save(folder / f"{name}.png")
    label_studio_json(folder)
    (folder / "classes.txt").write_text("cat\nroad-sign\n")
    photo(tmp_path / "photos/a.jpg")
    photo(tmp_path / "photos/b.jpg")
    left = to_masks(folder, tmp_path / "out", "label_studio_png", "--with-images",
                    "--images", tmp_path / "photos")  # fmt: skip
    assert left == {("other_results", ""): 1, ("contested", ""): 6}
    expected = np.where(np.fliplr(square(1)), 2, square(1))
    assert np.array_equal(mask_of(tmp_path / "out", "data/upload/1/1a2b3c4d-a"), expected)
    refused = convert(folder, tmp_path / "other", "--from", "masks", "--to", "indexed")
    assert refused.exit_code == 2 and "--from label_studio_png" in refused.stderr


def labelme_files(folder: Path) -> None:
    """Polygons of an old version without types, circles, a broken file among them."""
    points = np.reshape(SQUARE, (-1, 2)).tolist()
    for name, shapes in {
        "a": [{"label": "cat", "points": points, "line_color": None, "fill_color": None}],
        "b": [{"label": "cat", "points": points, "shape_type": None, "group_id": None},
              {"label": "dog", "points": [[1, 1], [2, 2]], "shape_type": "circle"},
              {"label": "dog", "points": [[1, 1], [2, 2]], "shape_type": "rectangle"},
              {"label": "dog", "points": [[1, 1]], "shape_type": "point"}],
    }.items():  # fmt: skip
        document = {"version": "3.16.7", "flags": {}, "shapes": shapes, "lineColor": [0, 255, 0, 1],
                    "imagePath": f"..\\photos\\{name}.jpg", "imageData": None,
                    "imageHeight": HEIGHT, "imageWidth": WIDTH}  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps(document))
    (folder / "broken.json").write_text('{"shapes": [')


def test_labelme(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    labelme_files(tmp_path / "in")
    done = convert(tmp_path / "in", tmp_path / "out", "--from", "labelme", "--to", "indexed")
    assert done.exit_code == 3, done.output
    assert json.loads(done.stdout)["ledger"]["failures"] == {"malformed": 1}
    assert told(done.stdout) == {
        ("boxes", ""): 1, ("keypoints", ""): 1, ("shapes", "circle"): 1,
    }  # fmt: skip
    for name in ("a", "b"):
        assert np.array_equal(mask_of(tmp_path / "out", name), square(1))


def test_datumaro(tmp_path: Path) -> None:
    """As datumaro 1.13 exports it: flattened picture names, labels by number, z_order."""
    runs = {"counts": [17, 3, 5, 3, 5, 3, 5, 3, 36], "size": [HEIGHT, WIDTH]}
    item = {
        "id": "sub/a",
        "annotations": [
            {"id": 0, "type": "polygon", "attributes": {}, "group": 0, "label_id": 1,
             "points": SQUARE, "z_order": 1},
            {"id": 1, "type": "mask", "attributes": {}, "group": 1, "label_id": 0, "rle": runs,
             "z_order": 0},
            {"id": 0, "type": "bbox", "label_id": 0, "z_order": 0, "bbox": [1.0, 1.0, 2.0, 2.0]},
            {"id": 0, "type": "points", "label_id": 0, "points": [1.0, 1.0], "visibility": [2]},
            {"id": 0, "type": "label", "attributes": {}, "group": 0, "label_id": 1},
        ],
        "image": {"path": "sub_a.jpg", "size": [HEIGHT, WIDTH]},
    }  # fmt: skip
    labels = [{"name": name, "parent": "", "attributes": []} for name in ("cat", "dog")]
    document = {
        "dm_format_version": "1.0", "media_type": 2, "infos": {},
        "categories": {"label": {"labels": labels, "label_groups": [], "attributes": []}},
        "items": [item, {"annotations": []},
                  {"id": "b", "annotations": [{"type": "mask", "label_id": 7, "rle": runs}],
                   "image": {"path": "b.jpg", "size": [HEIGHT, WIDTH]}}],
    }  # fmt: skip
    (tmp_path / "in/annotations").mkdir(parents=True)
    (tmp_path / "in/annotations/train.json").write_text(json.dumps(document))
    photo(tmp_path / "in/images/train/sub_a.jpg")
    done = convert(tmp_path / "in", tmp_path / "out", "--from", "datumaro", "--to", "indexed",
                   "--with-images")  # fmt: skip
    assert done.exit_code == 3, done.output
    assert json.loads(done.stdout)["ledger"]["failures"] == {"malformed": 1, "unknown_class": 1}
    assert told(done.stdout) == {
        ("boxes", ""): 1, ("keypoints", ""): 1, ("shapes", "label"): 1, ("covered", ""): 1,
        ("contested", ""): 12,
    }  # fmt: skip
    assert rows_of(tmp_path / "out")["sub/a.jpg"]["split"] == "train"
    assert np.array_equal(mask_of(tmp_path / "out", "sub/a"), square(2))


@pytest.mark.parametrize("target", ["coco", "labelme", "label_studio", "yolo"])
def test_and_on_to_another_tool(tmp_path: Path, target: str) -> None:
    """What came from Roboflow goes to any tool and comes back as it was."""
    roboflow_coco(tmp_path / "in")
    done = convert(tmp_path / "in", tmp_path / "there", "--from", "coco", "--to", target,
                   "--with-images", "--max-loss", 0)  # fmt: skip
    assert done.exit_code == 0, done.output
    to_masks(tmp_path / "there/dataset", tmp_path / "back", target)
    assert len(rows_of(tmp_path / "back")) == 4
    for path in (tmp_path / "back/dataset/masks").rglob("*.png"):
        assert np.array_equal(np.asarray(Image.open(path)), square(1))
