"""Built-in label maps: they load, and say what the datasets themselves say."""

import csv

import numpy as np
import pytest
from PIL import Image

from maskmill.schemas.labels import LabelMap, builtin, builtin_names

# Cityscapes: labelId of each trainId (cityscapesScripts, helpers/labels.py).
TRAIN_TO_LABEL_ID = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]


@pytest.mark.parametrize("name", builtin_names())
def test_loads_and_survives_a_round_trip(name):
    labels = builtin(name)
    assert labels.name == name
    assert LabelMap.from_dict(labels.to_dict()) == labels
    shift = 0 if labels.background_index == 0 else 1
    assert [entry.category_id for entry in labels.classes] == [
        entry.index + shift for entry in labels.classes
    ]


@pytest.mark.parametrize(("name", "classes", "background"), [
    ("ade20k", 151, 0), ("ade20k32", 32, 0), ("camvid", 32, 0), ("camvid11", 11, None),
    ("cityscapes", 19, None), ("cityscapes_labelids", 34, 0), ("lfw_parts", 3, 0),
    ("person", 2, 0), ("voc", 21, 0),
])  # fmt: skip
def test_sizes_and_background(name, classes, background):
    assert len(builtin(name).classes) == classes
    assert builtin(name).background_index == background


def test_cityscapes_train_ids_are_the_evaluated_label_ids():
    train, full = builtin("cityscapes"), builtin("cityscapes_labelids")
    for entry, label_id in zip(train.classes, TRAIN_TO_LABEL_ID, strict=True):
        other = full.classes[label_id]
        assert (entry.name, entry.color, entry.is_thing, entry.supercategory) == (
            other.name, other.color, other.is_thing, other.supercategory,
        )  # fmt: skip
    assert [entry.name for entry in train.classes if entry.is_thing] == [
        "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ]  # fmt: skip


def test_cityscapes_names_and_colors_are_those_of_real_files(shared):
    lines = (shared / "data/coral/cityscapes_segmentation_labels.txt").read_text().split("\n")
    assert [line for line in lines if line][1:] == list(builtin("cityscapes").names)
    known = {*map(tuple, builtin("cityscapes").color_table().tolist()), (0, 0, 0)}
    for number in (1, 6):
        path = shared / f"data/vainf_voc/samples/city_{number}_target.png"
        pixels = np.array(Image.open(path).convert("RGB")).reshape(-1, 3)
        colors, counts = np.unique(pixels, axis=0, return_counts=True)
        exact = sum(
            count for color, count in zip(colors.tolist(), counts, strict=True)
            if tuple(color) in known
        )  # fmt: skip
        assert exact / counts.sum() > 0.9  # the rest is blended: the files were resized


def test_ade20k_follows_the_dataset_table(shared):
    table = (shared / "data/ade20k/objectInfo150.csv").read_text()
    labels = builtin("ade20k")
    assert labels.names[0] == "other"
    for entry, row in zip(labels.classes[1:], csv.DictReader(table.splitlines()), strict=True):
        assert entry.index == int(row["Idx"])
        # Synonyms and the words inside them are both separated by semicolons there.
        assert row["Name"].replace(";", " ").startswith(entry.name)
        assert entry.is_thing == (row["Stuff"] == "0")


def test_ade20k32_is_its_beginning():
    assert builtin("ade20k32").classes == builtin("ade20k").classes[:32]


@pytest.mark.parametrize("name", ["camvid", "camvid11", "cityscapes", "lfw_parts", "person", "voc"])
def test_colors_tell_classes_apart(name):
    # Not so in cityscapes_labelids (void classes are black) and ade20k (road and skyscraper).
    colors = [entry.color for entry in builtin(name).classes]
    assert len(set(colors)) == len(colors)


def test_camvid_starts_with_black_void():
    void = builtin("camvid").classes[0]
    assert (void.name, void.color) == ("Void", (0, 0, 0))
    full, eleven = builtin("camvid"), builtin("camvid11")
    colors = {entry.name: entry.color for entry in full.classes}
    same = [entry.name for entry in eleven.classes if colors.get(entry.name) == entry.color]
    assert same == [
        "Sky", "Building", "Road", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
    ]  # fmt: skip
