"""Datasets that others made, and hostile or broken ones: read right, or refused by name."""

import base64
import io
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from maskmill.pipeline.datasets.left_out import BOXES, KEYPOINTS, NO_MASK, NO_PIXEL, Omission
from maskmill.pipeline.datasets.trees import hidden_note, open_tree
from maskmill.pipeline.pictures.names import stem_of
from maskmill.schemas.errors import ErrorCode, FileFailure
from maskmill.schemas.labels import LabelMap, builtin
from tests.pipeline.datasets.dataset_runs import read_dataset

LABELS = LabelMap.from_names("foreign", ["background", "cat", "dog"])


def panoptic_ids(path: Path) -> np.ndarray:
    pixels = np.asarray(Image.open(path)).astype(np.uint32)
    return pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]


def test_panoptic_of_coco(shared: Path) -> None:
    folder = shared / "data/coco_panoptic/sample_data"
    document = json.loads((folder / "panoptic_examples.json").read_text())
    names = {entry["id"]: entry["name"] for entry in document["categories"]}
    files = {entry["id"]: entry["file_name"] for entry in document["images"]}
    found = {
        sample.key: sample for sample in read_dataset(folder / "panoptic_examples.json", "panoptic")
    }
    assert len(found) == 2
    for annotation in document["annotations"]:
        sample = found[files[annotation["image_id"]]]
        ids = panoptic_ids(folder / "panoptic_examples" / annotation["file_name"])
        for segment in annotation["segments_info"]:
            inside = ids == segment["id"]
            assert {sample.labels.names[i] for i in np.unique(sample.mask[inside])} == {
                names[segment["category_id"]]
            }
            assert len(np.unique(sample.objects[inside])) == 1
        assert (sample.mask[ids == 0] == sample.labels.ignore_index).all()


def test_two_channel_panoptic_tells_the_same_classes(shared: Path) -> None:
    folder = shared / "data/coco_panoptic/sample_data"
    whole = {
        stem_of(one.key): one for one in read_dataset(folder / "panoptic_examples.json", "panoptic")
    }
    labels = next(iter(whole.values())).labels
    for two in read_dataset(
        folder / "panoptic_examples_2ch_format", "panoptic_two_channels", labels
    ):
        one = whole[two.key]
        known = two.mask != labels.ignore_index
        assert known.mean() > 0.9
        assert (one.mask[known] == two.mask[known]).mean() > 0.999


def test_coco_polygons_and_crowds_as_pycocotools_draws_them(shared: Path) -> None:
    """Every annotation that nothing covers has exactly the pixels of pycocotools' annToMask."""
    path = shared / "data/coco_panoptic/sample_data/panoptic_coco_detection_format.json"
    document = COCO(str(path))
    names = {entry["id"]: entry["name"] for entry in document.dataset["categories"]}
    checked = 0
    for sample in read_dataset(path, "coco"):
        annotations = document.loadAnns(document.getAnnIds(sample.source_id))
        masks = [document.annToMask(one).astype(bool) for one in annotations]
        claims = np.sum(masks, axis=0)
        for annotation, mask in zip(annotations, masks, strict=True):
            alone = mask & (claims == 1)
            wanted = sample.labels.index_of(names[annotation["category_id"]])
            assert (sample.mask[alone] == wanted).all()
            checked += int(alone.sum())
        assert (sample.mask[claims == 0] == 0).all()
    assert checked > 100_000


def test_ade20k_as_it_comes(shared: Path) -> None:
    folder = shared / "data/ade20k/sampleData"
    found = read_dataset(folder, "ade20k")
    assert len(found) == 3
    for sample in found:
        raw = np.asarray(Image.open(folder / f"annotations/{stem_of(sample.key)}.png"))
        assert np.array_equal(sample.mask, raw)
        assert sample.image == f"images/{sample.key}"
        assert sample.labels == builtin("ade20k")


def failing(folder: Path, name: str, labels: LabelMap | None = LABELS) -> FileFailure:
    with pytest.raises(FileFailure) as caught:
        read_dataset(folder, name, labels)
    return caught.value


def coco_with(segmentation: object, tmp_path: Path, **fields: object) -> Path:
    annotation = {"id": 17, "image_id": 1, "category_id": 1, "segmentation": segmentation, **fields}
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 4, "height": 3}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [annotation],
    }
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("segmentation", "code"),
    [
        ({"size": [3, 4], "counts": [5]}, ErrorCode.UNSAFE_SIZE),  # runs do not fill the picture
        ({"size": [60000, 60000], "counts": "x"}, ErrorCode.UNSAFE_SIZE),  # absurd size
        ({"size": [4, 3], "counts": [12]}, ErrorCode.SIZE_MISMATCH),  # sides swapped
        ([[1, 1, 2, 2, 3]], ErrorCode.MALFORMED),  # odd
        ([["a"] * 6], ErrorCode.MALFORMED),
        ("text", ErrorCode.MALFORMED),
    ],
)
def test_coco_annotations_that_break_the_rules(
    tmp_path: Path, segmentation: object, code: ErrorCode
) -> None:
    failure = failing(coco_with(segmentation, tmp_path), "coco", None)
    assert failure.code is code
    assert "annotation 17" in str(failure)


def test_coco_of_another_category(tmp_path: Path) -> None:
    path = coco_with([[0, 0, 2, 0, 2, 2]], tmp_path, category_id=9)
    assert failing(path, "coco", None).code is ErrorCode.UNKNOWN_CLASS


@pytest.mark.parametrize(
    ("segmentation", "fields", "kind"),
    [
        ([], {"bbox": [0, 0, 2, 2]}, BOXES),
        ([[]], {"bbox": [0, 0, 2, 2]}, BOXES),  # Roboflow's list of nothing
        (None, {"bbox": [0, 0, 2, 2], "keypoints": [1, 1, 2], "num_keypoints": 1}, KEYPOINTS),
        ([], {}, NO_MASK),
        ([[1, 1, 2, 2]], {}, NO_PIXEL),  # two corners: a line
        ([[9, 9, 12, 9, 12, 12]], {}, NO_PIXEL),  # outside the picture
    ],
)
def test_coco_annotations_without_a_pixel_are_counted(
    tmp_path: Path, segmentation: object, fields: dict, kind: str
) -> None:
    (sample,) = read_dataset(coco_with(segmentation, tmp_path, **fields), "coco")
    assert sample.left_out == {Omission(kind): 1}
    assert not sample.mask.any()


def test_overlap_is_counted_and_the_smaller_object_is_on_top(tmp_path: Path) -> None:
    square = [[0, 0, 4, 0, 4, 3, 0, 3]]
    path = coco_with(square, tmp_path)
    document = json.loads(path.read_text())
    document["categories"].append({"id": 2, "name": "dog"})
    document["annotations"].insert(
        0, {"id": 2, "image_id": 1, "category_id": 2, "segmentation": [[1, 1, 2, 1, 2, 2, 1, 2]]}
    )
    path.write_text(json.dumps(document))
    (sample,) = read_dataset(path, "coco")
    assert sample.overlap == 1
    assert sample.mask.tolist() == [[1, 1, 1, 1], [1, 2, 1, 1], [1, 1, 1, 1]]


def test_a_supervisely_bitmap_that_unpacks_to_a_bomb(tmp_path: Path) -> None:
    data = base64.b64encode(zlib.compress(bytes(300 << 20))).decode()
    figure = {
        "classTitle": "cat", "geometryType": "bitmap", "bitmap": {"origin": [0, 0], "data": data}
    }  # fmt: skip
    document = {"size": {"height": 4, "width": 4}, "objects": [figure]}
    (tmp_path / "meta.json").write_text('{"classes": [{"title": "cat"}]}')
    (tmp_path / "ds0/ann").mkdir(parents=True)
    (tmp_path / "ds0/ann/a.jpg.json").write_text(json.dumps(document))
    assert failing(tmp_path, "supervisely").code is ErrorCode.UNSAFE_SIZE


def png(array: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"points": [[0, 0], [4, 4]]}, ErrorCode.SIZE_MISMATCH),  # corners are inclusive
        ({"points": [[9, 9], [11, 11]]}, ErrorCode.SIZE_MISMATCH),  # outside the picture
        ({"mask": "%%%"}, ErrorCode.MALFORMED),
        ({"label": "horse"}, ErrorCode.UNKNOWN_CLASS),
        ({"points": []}, ErrorCode.MALFORMED),
    ],
)
def test_labelme_shapes_that_cannot_be(tmp_path: Path, change: dict, code: ErrorCode) -> None:
    shape = {
        "label": "cat", "shape_type": "mask", "points": [[0, 0], [2, 2]],
        "mask": png(np.ones((3, 3), bool)), **change,
    }  # fmt: skip
    document = {"imagePath": "a.jpg", "imageHeight": 10, "imageWidth": 10, "shapes": [shape]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\ncat\n")
    assert failing(tmp_path, "labelme").code is code


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("0 0.1 0.1 0.5 0.1 0.5", ErrorCode.MALFORMED),  # odd
        ("0 10 10 50 10 50 50", ErrorCode.MALFORMED),  # pixels, not shares
        ("7 0.1 0.1 0.5 0.1 0.5 0.5", ErrorCode.UNKNOWN_CLASS),
        ("0.5 0.1 0.1 0.5 0.1 0.5 0.5", ErrorCode.UNKNOWN_CLASS),
        ("cat 0.1 0.1 0.5 0.1 0.5 0.5", ErrorCode.MALFORMED),
        ("0 nan 0.1 0.5 0.1 0.5 0.5", ErrorCode.MALFORMED),
    ],
)
def test_yolo_lines_that_cannot_be(tmp_path: Path, line: str, code: ErrorCode) -> None:
    (tmp_path / "labels/train").mkdir(parents=True)
    (tmp_path / "labels/train/a.txt").write_text(line + "\n")
    (tmp_path / "images/train").mkdir(parents=True)
    Image.new("RGB", (20, 10)).save(tmp_path / "images/train/a.png")
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\n")
    failure = failing(tmp_path, "yolo", None)
    assert failure.code is code
    assert "line 1" in str(failure)


def test_yolo_boxes_among_polygons_are_counted(tmp_path: Path) -> None:
    (tmp_path / "labels/train").mkdir(parents=True)
    lines = "0 0.5 0.5 0.2 0.2\n1 0 0 0.5 0 0.5 1 0 1\n"
    (tmp_path / "labels/train/a.txt").write_text(lines)
    (tmp_path / "images/train").mkdir(parents=True)
    Image.new("RGB", (4, 2)).save(tmp_path / "images/train/a.png")
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\n")
    (sample,) = read_dataset(tmp_path, "yolo")
    assert sample.left_out == {Omission(BOXES): 1}
    assert sample.mask.tolist() == [[2, 2, 0, 0]] * 2


def test_yolo_without_its_pictures_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "labels/train").mkdir(parents=True)
    (tmp_path / "labels/train/a.txt").write_text("")
    (tmp_path / "data.yaml").write_text("names: {0: cat}\n")
    assert failing(tmp_path, "yolo", None).code is ErrorCode.MISSING_IMAGE


XML = '<annotations><image id="0" name="a.jpg" width="4" height="3">{}</image></annotations>'


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (XML.format('<mask label="cat" rle="0, 5" left="0" top="0" width="2" height="2"/>'),
         ErrorCode.UNSAFE_SIZE),
        (XML.format('<mask label="cat" rle="0, 4" left="3" top="0" width="2" height="2"/>'),
         ErrorCode.SIZE_MISMATCH),
        (XML.format('<mask label="cat" rle="a" left="0" top="0" width="2" height="2"/>'),
         ErrorCode.MALFORMED),
        (XML.format('<mask label="cat" rle="4" left="0" top="0" width="99999" height="99999"/>'),
         ErrorCode.UNSAFE_SIZE),
        (XML.format('<polygon label="cat" points="1,1;2,2"/>'), ErrorCode.MALFORMED),
        (XML.format("<mask"), ErrorCode.MALFORMED),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd">' + XML.format(""), ErrorCode.UNSAFE_XML),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + XML.format("&x;"),
         ErrorCode.UNSAFE_XML),
    ],
)  # fmt: skip
def test_cvat_xml_that_cannot_be(tmp_path: Path, text: str, code: ErrorCode) -> None:
    (tmp_path / "annotations.xml").write_text(text)
    assert failing(tmp_path, "cvat_images").code is code


def test_a_document_in_a_zip_is_read_like_one_in_a_folder(tmp_path: Path) -> None:
    text = XML.format('<mask label="cat" rle="0, 4" left="1" top="1" width="2" height="2"/>')
    with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
        archive.writestr("annotations.xml", text)
    (sample,) = read_dataset(tmp_path / "task.zip", "cvat_images")
    assert sample.mask.tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]]


@pytest.mark.parametrize("archived", [False, True])
def test_what_macos_and_notebooks_leave_behind_is_no_sample(tmp_path: Path, archived: bool) -> None:
    """Archives made on a Mac hold a shadow of every file, which is called like a mask."""
    png = io.BytesIO()
    Image.fromarray(np.array([[0, 1], [2, 2]], np.uint8)).save(png, "PNG")
    files = {"masks/a.png": png.getvalue(), "masks/._a.png": b"\0\5\x16\7" + bytes(80),
             "__MACOSX/masks/._a.png": bytes(9), "masks/.ipynb_checkpoints/a.png": b"",
             ".DS_Store": b"Bud1"}  # fmt: skip
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        archive.extractall(tmp_path / "set")
    source = tmp_path / ("set.zip" if archived else "set")
    (sample,) = read_dataset(source, "masks", LABELS)
    assert sample.mask.tolist() == [[0, 1], [2, 2]]
    (note,) = hidden_note(open_tree(str(source)))
    assert note.startswith("3 hidden files are left out, __MACOSX/masks/._a.png first")


def test_a_document_that_points_outside_its_folder_is_refused(tmp_path: Path) -> None:
    """A metadata line may not make us read a file elsewhere."""
    (tmp_path / "train").mkdir()
    line = {"file_name": "a.jpg", "mask_file_name": "../../../../etc/hostname"}
    (tmp_path / "train/metadata.jsonl").write_text(json.dumps(line))
    assert failing(tmp_path, "huggingface").code is ErrorCode.UNSAFE_PATH
