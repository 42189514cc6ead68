"""The encodings of one small mask, as the programs that own the formats make them."""

import base64
import io
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from defusedxml import ElementTree
from PIL import Image
from pycocotools import mask as coco_mask

from maskmill.pipeline.datasets.documents.label_studio_brush import brush_to_mask, mask_to_brush
from maskmill.pipeline.datasets.formats.supervisely import bitmap_data, bitmap_mask
from maskmill.pipeline.datasets.samples import Sample
from maskmill.pipeline.masks.run_lengths import mask_to_points, points_to_mask
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.labels import LabelMap, voc_color
from tests.pipeline.datasets.dataset_runs import read_dataset, write_dataset

GOLDEN = json.loads(
    (Path(__file__).parents[2] / "golden/formats/ring.json").read_text(encoding="utf-8")
)
RING = np.array(GOLDEN["mask"], np.uint8)
LABELS = LabelMap.from_names("ring", ["background", "x"])


def written(tmp_path: Path, name: str) -> Path:
    write_dataset([Sample(key="img1.jpg", mask=RING, labels=LABELS)], tmp_path, name)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "golden"), [("coco", "coco_compressed"), ("coco_uncompressed", "coco_uncompressed")]
)
def test_coco(tmp_path: Path, name: str, golden: str) -> None:
    document = json.loads(
        (written(tmp_path, name) / "annotations/instances_default.json").read_text()
    )
    (annotation,) = document["annotations"]
    assert annotation["segmentation"] == GOLDEN[golden]
    assert annotation["area"] == GOLDEN["area"]
    assert annotation["bbox"] == GOLDEN["bbox"]
    assert annotation["iscrowd"] == 0
    assert document["images"] == [{"id": 1, "file_name": "img1.jpg", "width": 6, "height": 4}]
    assert [entry["id"] for entry in document["categories"]] == [1]


@pytest.mark.parametrize("golden", ["coco_compressed", "coco_uncompressed"])
def test_coco_vectors_are_read(tmp_path: Path, golden: str) -> None:
    document = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 6, "height": 4}],
        "categories": [{"id": 3, "name": "x", "supercategory": ""}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "segmentation": GOLDEN[golden]}],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    (sample,) = read_dataset(tmp_path / "a.json", "coco")
    assert np.array_equal(sample.mask, RING)
    assert sample.source_id == 7


def test_coco_polygons_of_the_ring_are_its_union_with_the_hole_kept(tmp_path: Path) -> None:
    folder = written(tmp_path, "coco_polygons")
    document = json.loads((folder / "annotations/instances_default.json").read_text())
    (annotation,) = document["annotations"]
    rles = coco_mask.frPyObjects(annotation["segmentation"], 4, 6)
    assert np.array_equal(coco_mask.decode(rles).any(axis=2), RING == 1)


def test_cvat_xml(tmp_path: Path) -> None:
    root = ElementTree.parse(written(tmp_path, "cvat_images") / "annotations.xml").getroot()
    (shape,) = root.iter("mask")
    assert dict(shape.attrib) == {"label": "x", **GOLDEN["cvat_xml"]}
    (image,) = root.iter("image")
    assert dict(image.attrib) == {"id": "0", "name": "img1.jpg", "width": "6", "height": "4"}
    assert root.findtext("version") == "1.1"


def test_cvat_points() -> None:
    """The vector of CVAT's API: runs of the box, then its inclusive corners."""
    box = RING[1:4, 2:5] == 1
    assert mask_to_points(box, 2, 1) == GOLDEN["cvat_points"] == [0, 4, 1, 4, 2, 1, 4, 3]
    inside, left, top = points_to_mask(GOLDEN["cvat_points"], name="ring")
    assert (left, top) == (2, 1)
    assert np.array_equal(inside, box)


@pytest.mark.parametrize(
    ("points", "code"),
    [
        ([0, 4], ErrorCode.MALFORMED),  # no corners
        ([0, 4, 4, 3, 2, 1], ErrorCode.MALFORMED),  # corners swapped
        ([0, 4, 1, 3, 2, 1, 4, 3], ErrorCode.UNSAFE_SIZE),  # one pixel short
        ([0, 9, 0, 0, 99_999, 99_999], ErrorCode.UNSAFE_SIZE),
    ],
)
def test_cvat_points_that_cannot_be(points: list[int], code: ErrorCode) -> None:
    with pytest.raises(DocumentFailure) as caught:
        points_to_mask(points, name="shape")
    assert caught.value.code is code


def test_label_studio_brush_bytes() -> None:
    assert mask_to_brush(RING == 1) == GOLDEN["label_studio_rle"]
    assert np.array_equal(brush_to_mask(GOLDEN["label_studio_rle"], (4, 6), name="ring"), RING == 1)


def test_label_studio_task(tmp_path: Path) -> None:
    folder = written(tmp_path, "label_studio")
    (task,) = json.loads((folder / "tasks.json").read_text())
    (result,) = task["predictions"][0]["result"]
    assert result["value"]["rle"] == GOLDEN["label_studio_rle"]
    assert result["value"]["brushlabels"] == ["x"]
    assert (result["original_width"], result["original_height"]) == (6, 4)
    config = ElementTree.parse(folder / "labeling_config.xml").getroot()
    (brush,) = config.iter("BrushLabels")
    assert brush.get("name") == result["from_name"]
    assert brush.get("toName") == result["to_name"] == config.find("Image").get("name")
    assert [label.get("value") for label in brush] == ["x"]


def test_labelme(tmp_path: Path) -> None:
    document = json.loads((written(tmp_path, "labelme") / "img1.json").read_text())
    (shape,) = document["shapes"]
    assert shape["shape_type"] == "mask"
    assert shape["points"] == GOLDEN["labelme_points"]
    png = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape["mask"]))))
    assert png.shape == (3, 3)
    assert np.array_equal(png.astype(bool), RING[1:4, 2:5] == 1)
    assert (document["imageHeight"], document["imageWidth"]) == (4, 6)
    assert document["imageData"] is None


def test_supervisely_bitmap() -> None:
    crop = RING[1:4, 2:5] == 1
    assert np.array_equal(bitmap_mask(GOLDEN["supervisely"]["data"], "ring"), crop)
    ours = Image.open(io.BytesIO(zlib.decompress(base64.b64decode(bitmap_data(crop)))))
    theirs = Image.open(
        io.BytesIO(zlib.decompress(base64.b64decode(GOLDEN["supervisely"]["data"])))
    )
    assert ours.mode == theirs.mode == "P"
    assert np.array_equal(
        np.asarray(ours.convert("RGBA"))[..., 3] > 0,
        np.asarray(theirs.convert("RGBA"))[..., 3] > 0,
    )


def test_supervisely_layout(tmp_path: Path) -> None:
    folder = written(tmp_path, "supervisely")
    document = json.loads((folder / "ds0/ann/img1.jpg.json").read_text())
    assert document["size"] == {"height": 4, "width": 6}
    (figure,) = document["objects"]
    assert figure["bitmap"]["origin"] == GOLDEN["supervisely"]["origin"]
    assert figure["geometryType"] == "bitmap"
    meta = json.loads((folder / "meta.json").read_text())
    assert [entry["title"] for entry in meta["classes"]] == ["x"]


def test_yolo_lines_follow_the_rules_of_its_parser(tmp_path: Path) -> None:
    """Class and at least three pairs, all within 0..1: what ultralytics checks."""
    lines = (written(tmp_path, "yolo") / "labels/train/img1.txt").read_text().splitlines()
    assert len(lines) == 1
    fields = lines[0].split()
    assert fields[0] == "0"
    assert len(fields) >= 7
    assert len(fields) % 2 == 1
    assert all(0 <= float(field) <= 1 for field in fields[1:])


def test_panoptic_ids_by_the_formula_of_rgb2id(tmp_path: Path) -> None:
    folder = written(tmp_path, "panoptic") / "annotations"
    document = json.loads((folder / "panoptic_default.json").read_text())
    (annotation,) = document["annotations"]
    pixels = np.asarray(Image.open(folder / "panoptic_default" / annotation["file_name"])).astype(
        np.uint32
    )
    ids = pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]
    by_name = {entry["name"]: entry["id"] for entry in document["categories"]}
    for segment in annotation["segments_info"]:
        inside = ids == segment["id"]
        assert inside.sum() == segment["area"]
        class_index = 1 if segment["category_id"] == by_name["x"] else 0
        assert np.array_equal(inside, np.equal(RING, class_index))
    assert sorted(np.unique(ids)) == sorted(one["id"] for one in annotation["segments_info"])


def test_voc_palette_and_lists(tmp_path: Path) -> None:
    folder = written(tmp_path, "voc")
    image = Image.open(folder / "SegmentationClass/img1.png")
    assert image.mode == "P"
    assert image.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
    assert image.getpalette()[765:] == [224, 224, 192]
    assert (folder / "ImageSets/Segmentation/default.txt").read_text() == "img1\n"


def test_voc_colormap() -> None:
    """Bits of the index spread over R, G, B from the high bit; 255 is painted as void."""
    wanted = {
        0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 20: (0, 64, 128),
        21: (128, 64, 128), 255: (224, 224, 192),
    }  # fmt: skip
    assert {index: voc_color(index) for index in wanted} == wanted
