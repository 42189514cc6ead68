"""Files as other programs write them, by the commands a stranger would use first.

Each document is made here after one that its program wrote: field names, order and nesting are its.
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from maskmill.jobs.cli import main

RING = [[4.0, 2.0, 12.0, 2.0, 12.0, 10.0, 4.0, 10.0]]
SQUARE = [[4, 2], [12, 2], [12, 10], [4, 10]]


def maskmill(*arguments: object) -> Result:
    ended = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended


def convert(source: Path, out: Path, name: str, *more: object) -> Result:
    told = ("--from", name, "--to", "indexed", "--engine", "local", "--json", *more)
    return maskmill("convert", source, out, *told)


def inspected(path: Path, *more: object) -> dict[str, object]:
    found: dict[str, object] = json.loads(maskmill("inspect", path, "--json", *more).stdout)
    return found


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def masks_of(out: Path) -> dict[str, np.ndarray]:
    root = out / "dataset/masks"
    found = sorted(root.rglob("*.png"))
    return {str(path.relative_to(root)): np.asarray(Image.open(path)) for path in found}


def class_names(out: Path) -> list[str]:
    document = json.loads((out / "dataset/labels.json").read_text())
    return [entry["name"] for entry in document["classes"]]


def coco(**others: object) -> dict[str, object]:
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 16}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": RING, "iscrowd": 0}
        ],
        "categories": [{"id": 1, "name": "cat"}],
        **others,
    }


def test_one_document_an_archive_and_a_folder_with_somebodys_run_json_are_audited(
    tmp_path: Path,
) -> None:
    """None of them is a run, so nothing is asked of their annotators."""
    document = write(tmp_path / "one.json", coco())
    mask = save(tmp_path / "masks/a.png", np.eye(16, dtype=np.uint8))
    write(tmp_path / "masks/run.json", {"epochs": 3})
    with zipfile.ZipFile(tmp_path / "masks.zip", "w") as archive:
        archive.write(mask, "a.png")
    write(tmp_path / "labels.txt", "background\ncat\n")
    labels = ("--labels", tmp_path / "labels.txt")
    for side, more in (
        (document, ()),
        (tmp_path / "masks", labels),
        (tmp_path / "masks.zip", labels),
    ):
        done = maskmill("audit", side, side, *more, "--json", "--engine", "local")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["metrics"]["miou"]["value"] == 1.0


CVAT = """<annotations><version>1.1</version><meta><task><name>streets</name><labels>
<label><name>car</name><color>#ff0000</color><type>any</type><attributes>
<attribute><name>model</name><input_type>text</input_type></attribute>
<attribute><name>parked</name><input_type>checkbox</input_type></attribute></attributes></label>
<label><name>tree</name><attributes></attributes></label>
<label><name>body</name><type>skeleton</type><attributes></attributes></label>
<label><name>1</name><type>points</type><attributes></attributes><parent>body</parent></label>
</labels></task></meta>
<image id="0" name="a.jpg" width="20" height="16">
<polygon label="tree" source="manual" points="4,2;12,2;12,10;4,10"></polygon>
<polyline label="" points="1,2;3,4"></polyline></image></annotations>"""


def test_attributes_and_skeleton_points_of_cvat_are_no_classes(tmp_path: Path) -> None:
    write(tmp_path / "in/annotations.xml", CVAT)
    done = convert(tmp_path / "in", tmp_path / "out", "cvat_images")
    assert done.exit_code == 0, done.output
    assert class_names(tmp_path / "out") == ["background", "car", "tree", "body"]
    document = json.loads((tmp_path / "out/dataset/labels.json").read_text())
    assert document["classes"][1]["color"] == [255, 0, 0]
    (mask,) = masks_of(tmp_path / "out").values()
    assert np.bincount(mask.ravel()).tolist() == [256, 0, 64]


DATUMARO = {
    "info": {},
    "categories": {"label": {"labels": [{"name": "cat", "parent": "", "attributes": []}]}},
    "items": [
        {
            "id": "a",
            "annotations": [{"type": "polygon", "label_id": 0, "points": RING[0], "z_order": 0}],
            "image": {"path": "a.jpg", "size": [16, 20]},
        }
    ],
}
ADE20K = {"annotation": {"filename": "1.jpg", "object": [], "scene": ["street"]}}
SEGMENT_ANYTHING = {
    "image": {"image_id": 1, "width": 20, "height": 16, "file_name": "a.jpg"},
    "annotations": [{"id": 1, "segmentation": {"size": [16, 20], "counts": "`04n0"}, "area": 4}],
}


def test_documents_with_keys_like_cocos_are_not_called_coco(tmp_path: Path) -> None:
    write(tmp_path / "datumaro/annotations/default.json", DATUMARO)
    found = inspected(tmp_path / "datumaro")
    assert found["convention"]["from"] == "datumaro" and "--from datumaro" in found["next"]
    assert convert(tmp_path / "datumaro", tmp_path / "out", "datumaro").exit_code == 0
    write(tmp_path / "sam/sa_1.json", SEGMENT_ANYTHING)
    refused = maskmill("inspect", tmp_path / "sam")
    assert refused.exit_code == 2 and "Segment Anything" in refused.output
    assert "Segment Anything" in convert(tmp_path / "sam", tmp_path / "no", "coco").output


def test_the_full_ade20k_of_2021_is_no_panoptic_set_and_its_objects_are_no_masks(
    tmp_path: Path,
) -> None:
    """Each picture has a JSON, and a folder of its name with a mask per object."""
    folder = tmp_path / "training/street"
    objects = [{"id": 0, "name": "car", "name_ndx": 401, "parts": {"part_level": 0}}]
    write(folder / "1.json", {"annotation": {**ADE20K["annotation"], "object": objects}})
    seg = np.zeros((8, 8, 3), np.uint8)
    seg[2:6, 2:6] = (401 // 256 * 10, 401 % 256, 1)
    save(folder / "1_seg.png", seg)
    save(folder / "1.jpg", np.full((8, 8, 3), 90, np.uint8))
    save(folder / "1/instance_000_ADE_train_1.png", seg[..., 2] * 255)
    write(tmp_path / "dataset_meta.json", {"label_map": {"0": "other", "1": "names"}})
    found = inspected(tmp_path)
    assert (found["files"], found["findings"]) == (1, [])
    assert found["classes"] == ["background", "car"]  # those that `convert` takes
    done = maskmill("audit", tmp_path, tmp_path, "--json", "--engine", "local")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "annotation, told",
    [
        ({"id": 1, "image_id": 1, "caption": "a cat"}, "1 annotations without any shape"),
        ({"id": 1, "image_id": 1, "category_id": 1}, "1 annotations without any shape"),
    ],
)
def test_captions_and_labels_of_whole_pictures_are_no_background(
    tmp_path: Path, annotation: dict[str, object], told: str
) -> None:
    source = write(tmp_path / "captions.json", coco(annotations=[annotation]))
    done = convert(source, tmp_path / "out", "coco")
    assert done.exit_code == 1 and f"no masks in this document: {told}" in done.output
    found = inspected(source)
    assert found["next"] == "" and told in found["findings"][0]["sentence"]


def labelme(**others: object) -> dict[str, object]:
    shape = {
        "label": "cat",
        "points": SQUARE,
        "group_id": None,
        "shape_type": "polygon",
        "flags": {},
    }
    return {
        "version": "5.5.0", "flags": {}, "shapes": [shape], "imagePath": "a.jpg",
        "imageData": None, "imageHeight": 16, "imageWidth": 20, **others,
    }  # fmt: skip


def test_flags_of_labelme_are_counted_and_alone_are_no_background(tmp_path: Path) -> None:
    flags = {"cat": True, "dog": False}
    write(tmp_path / "flags/a.json", labelme(shapes=[], flags=flags))
    done = convert(tmp_path / "flags", tmp_path / "no", "labelme")
    assert done.exit_code == 1 and "no masks in this document: 1 lines, tags" in done.output
    write(tmp_path / "both/a.json", labelme(flags=flags))
    done = convert(tmp_path / "both", tmp_path / "out", "labelme")
    assert json.loads(done.stdout)["left_out"] == [{"kind": "shapes", "what": "flag", "count": 1}]


@pytest.mark.parametrize("name", ["labels.json", "dataset_meta.json", "classes.txt", "labels.txt"])
def test_a_class_list_among_labelme_documents_is_read_as_that(tmp_path: Path, name: str) -> None:
    """Classes keep the list's order, and the list is no sample of its own."""
    texts = {
        "labels.json": json.dumps(["background", "dog", "cat"]),
        "dataset_meta.json": json.dumps({"label_map": {"0": "background", "1": "dog", "2": "cat"}}),
        "classes.txt": "background\ndog\ncat\n",
        "labels.txt": "__ignore__\n_background_\ndog\ncat\n",
    }
    write(tmp_path / "in/a.json", labelme())
    write(tmp_path / "in" / name, texts[name])
    done = convert(tmp_path / "in", tmp_path / "out", "labelme")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["ledger"]["ok"] == 1
    assert class_names(tmp_path / "out")[1:] == ["dog", "cat"]


def test_coco_annotators_colours_are_read(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "cat", "supercategory": "", "color": "#594b6f"}]
    done = convert(
        write(tmp_path / "a.json", coco(categories=categories)), tmp_path / "out", "coco"
    )
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "out/dataset/labels.json").read_text())
    assert document["classes"][1]["color"] == [0x59, 0x4B, 0x6F]


def yolo(folder: Path, line: str, **more: object) -> Path:
    write(folder / "labels/train/a.txt", f"{line}\n")
    save(folder / "images/train/a.png", np.full((100, 200, 3), 90, np.uint8))
    yaml = {"names": {0: "cat"}, "train": "images/train", **more}
    write(folder / "data.yaml", "".join(f"{key}: {value}\n" for key, value in yaml.items()))
    return folder


def test_key_points_of_yolo_are_not_drawn_as_polygons(tmp_path: Path) -> None:
    """A class, a box and pairs are the numbers of a polygon; only data.yaml tells."""
    pose = yolo(tmp_path / "in", "0 0.5 0.5 0.4 0.4 0.3 0.3 0.6 0.6", kpt_shape=[2, 2])
    done = convert(pose, tmp_path / "out", "yolo")
    assert done.exit_code == 1 and "no masks in this document: 1 key points" in done.output
    assert inspected(pose)["next"] == ""


@pytest.mark.parametrize(
    "line, is_told",
    [
        ("0 0.5 0.2 0.6 0.4 0.5 0.6 0.4 0.4", True),  # a square on its tip, in pixels
        ("0 0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.6", True),
        ("0 0.1 0.1 0.5 0.2 0.6 0.9 0.1 0.6", False),
        ("0 0.1 0.1 0.5 0.1 0.6 0.5 0.5 0.6 0.1 0.6", False),
    ],
)
def test_polygons_that_are_all_rectangles_are_told_to_look_like_boxes(
    tmp_path: Path, line: str, is_told: bool
) -> None:
    done = convert(yolo(tmp_path / "in", line), tmp_path / "out", "yolo")
    assert done.exit_code == 0, done.output
    assert ("as oriented boxes are written" in done.stderr) == is_told


def test_boxes_of_yolo_and_voc_beside_plain_pictures_are_called_by_their_name(
    tmp_path: Path,
) -> None:
    """Plain pictures are no photographs; the documents beside them say what they are."""
    boxes = inspected(yolo(tmp_path / "yolo", "0 0.5 0.5 0.2 0.2"))
    assert boxes["convention"]["from"] == "yolo" and boxes["next"] == ""
    assert "1 boxes and no mask" in boxes["findings"][0]["sentence"]
    save(tmp_path / "voc/JPEGImages/a.jpg", np.full((9, 9, 3), 90, np.uint8))
    xml = "<annotation><object><name>cat</name><bndbox></bndbox></object></annotation>"
    write(tmp_path / "voc/Annotations/a.xml", xml)
    refused = maskmill("inspect", tmp_path / "voc")
    assert refused.exit_code == 2 and "list of Pascal VOC boxes" in refused.output


def test_a_panoptic_document_is_inspected_by_itself(tmp_path: Path) -> None:
    segment = {"id": 7, "category_id": 1, "area": 16, "bbox": [0, 0, 4, 4], "iscrowd": 0}
    entry = {"image_id": 1, "file_name": "a.png", "segments_info": [segment]}
    source = write(tmp_path / "panoptic_val.json", coco(annotations=[entry]))
    pixels = np.zeros((16, 20, 3), np.uint8)
    pixels[:4, :4, 0] = 7
    save(tmp_path / "panoptic_val/a.png", pixels)
    found = inspected(source)
    assert "--from panoptic" in found["next"]
    assert convert(source, tmp_path / "out", "panoptic").exit_code == 0


def test_masks_that_number_objects_or_hold_two_labellings_have_no_next_step(
    tmp_path: Path,
) -> None:
    ids = np.zeros((8, 8), np.uint16)
    ids[2:5, 2:5] = 2001
    save(tmp_path / "mots/train/instances/0000/000001.png", ids)
    write(tmp_path / "mots/train/instances/labels.txt", "other\ncar\nperson\n")
    mots = inspected(tmp_path / "mots")
    assert mots["convention"]["name"] == "mots instance ids" and mots["next"] == ""
    config = {"labels": [{"name": "bird", "color": [1, 2, 3]}, {"name": "car", "color": [4, 5, 6]}]}
    for version in ("v1.2", "v2.0"):
        write(tmp_path / f"vistas/config_{version}.json", config)
        save(tmp_path / f"vistas/train/{version}/labels/1.png", np.eye(8, dtype=np.uint8))
        save(tmp_path / f"vistas/train/{version}/instances/1.png", ids)
    save(tmp_path / "vistas/train/images/1.jpg", np.full((8, 8, 3), 90, np.uint8))
    vistas = inspected(tmp_path / "vistas")
    assert vistas["next"] == ""
    kinds = {finding["kind"] for finding in vistas["findings"]}
    assert "several_sets" in kinds and "missing_image" not in kinds


def test_no_next_step_where_every_file_would_fail(tmp_path: Path) -> None:
    write(tmp_path / "classes.txt", "background\ncat\n")
    save(tmp_path / "masks/a.png", np.full((9, 9), 4, np.uint8))
    found = inspected(tmp_path)
    assert found["next"] == "" and found["findings"][0]["kind"] == "unknown_value"
    save(tmp_path / "masks/b.png", np.eye(9, dtype=np.uint8))
    assert "--labels" in inspected(tmp_path)["next"]
