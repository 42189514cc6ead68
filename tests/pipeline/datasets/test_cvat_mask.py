"""The CVAT mask zip: the recipe holds for any mask, the validator knows each way to break it."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.datasets.documents.cvat_validator import validate
from maskmill.pipeline.datasets.samples import Sample
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap, voc_color
from tests.pipeline.datasets.dataset_runs import write_dataset

LABELS = LabelMap.from_names("cvat", ["background", "cat", "big dog"])


def mask() -> np.ndarray:
    array = np.zeros((8, 9), np.uint8)
    array[1:4, 1:4] = 1
    array[2, 2] = 0
    array[5:7, 5:8] = 2
    array[0, 0] = 255
    return array


def package(tmp_path: Path, **fields: object) -> Path:
    sample = Sample(**{"key": "sub dir/a.b.jpg", "mask": mask(), "labels": LABELS, **fields})
    write_dataset([sample], tmp_path, "cvat_mask")
    return tmp_path / "segmentation_mask.zip"


def problems(path: Path) -> list[str]:
    return list(validate(open_tree(str(path))))


def pixels(path: Path, member: str) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        return np.asarray(Image.open(io.BytesIO(archive.read(member))).convert("RGB"))


def test_the_recipe(tmp_path: Path) -> None:
    path = package(tmp_path)
    assert problems(path) == []
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labelmap.txt").decode().splitlines() == [
            "# label:color_rgb:parts:actions",
            "background:0,0,0::",
            "cat:128,0,0::",
            "big dog:0,128,0::",
        ]
        assert archive.read("ImageSets/Segmentation/default.txt") == b"sub dir/a.b\n"
    objects = pixels(path, "SegmentationObject/sub dir/a.b.png")
    background = (mask() == 0) | (mask() == 255)
    assert np.array_equal((objects == 0).all(axis=2), background)
    assert tuple(objects[1, 1]) == voc_color(1)
    assert tuple(objects[5, 5]) == voc_color(2)


def test_objects_of_two_classes_stay_two_objects(tmp_path: Path) -> None:
    objects = np.zeros((8, 9), np.int32)
    objects[1:4, 1:4] = objects[5:7, 5:8] = 7  # one number over two classes
    path = package(tmp_path, objects=objects)
    assert problems(path) == []


def test_three_hundred_objects_become_one_per_class(tmp_path: Path) -> None:
    array = np.ones((20, 20), np.uint8)
    objects = np.arange(400, dtype=np.int32).reshape(20, 20) + 1
    path = package(tmp_path, mask=array, objects=objects)
    assert problems(path) == []
    assert len(np.unique(pixels(path, "SegmentationObject/sub dir/a.b.png"))) == 2


def test_colours_that_clash_are_replaced(tmp_path: Path) -> None:
    colors = [(9, 9, 9), (0, 0, 0), (5, 5, 5), (5, 5, 5), (224, 224, 192)]
    labels = LabelMap.from_names("clash", ["background", "a", "b", "c", "d"], colors=colors)
    array = np.arange(5, dtype=np.uint8).reshape(1, 5)
    assert problems(package(tmp_path, mask=array, labels=labels)) == []


def test_a_colon_in_a_name_stops_before_the_file_is_broken(tmp_path: Path) -> None:
    labels = LabelMap.from_names("bad", ["background", "a:b"])
    with pytest.raises(SettingsError, match="a:b"):
        package(tmp_path, mask=np.zeros((2, 2), np.uint8), labels=labels)


def rebuilt(path: Path, member: str, data: bytes | None) -> Path:
    """The zip with one member replaced, or left out."""
    target = path.with_name("broken.zip")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            if name != member:
                archive.writestr(name, source.read(name))
        if data is not None:
            archive.writestr(member, data)
    return target


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


CLASS, OBJECT = "SegmentationClass/sub dir/a.b.png", "SegmentationObject/sub dir/a.b.png"


@pytest.mark.parametrize(
    ("member", "change", "told"),
    [
        (OBJECT, None, "background becomes a shape"),
        ("labelmap.txt", None, "labelmap.txt is missing"),
        ("labelmap.txt", b"background:0,0,0::\ncat:128,0,0::\nbig:dog:0,128,0::\n", "5 fields"),
        ("labelmap.txt", b"cat:128,0,0::\nbig dog:0,128,0::\n", "no background line"),
        ("labelmap.txt", b"background:0,0,0::\ncat:128,0,0::\nbig dog:128,0,0::\n", "one colour"),
        ("labelmap.txt", b"background:0,0,0::\ncat:128,0,0::\n", "0,128,0 is not declared"),
        (CLASS, "void", "224,224,192 is not declared"),
        (OBJECT, "colour", "1,2,3 is not in the VOC colormap"),
        (OBJECT, "everywhere", "exactly what is not background"),
        (OBJECT, "merged", "two classes"),
        (OBJECT, "size", "differ in size"),
    ],
)
def test_every_way_to_break_it(tmp_path: Path, member: str, change: object, told: str) -> None:
    path = package(tmp_path)
    data = change if isinstance(change, bytes) else None
    if isinstance(change, str):
        array = pixels(path, member).copy()
        if change == "void":
            array[0, 0] = (224, 224, 192)
        elif change == "colour":
            array[1, 1] = (1, 2, 3)
        elif change == "everywhere":
            array[0] = voc_color(3)
        elif change == "merged":
            array[(array != 0).any(axis=2)] = voc_color(1)
        else:
            array = array[:-1]
        data = png(array)
    found = problems(rebuilt(path, member, data))
    assert any(told in problem for problem in found), found
