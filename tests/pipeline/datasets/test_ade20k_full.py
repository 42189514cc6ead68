"""ADE20K's full set: names from the lists beside the masks, of both of its editions."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.datasets.samples import Sample
from maskmill.schemas.errors import DocumentFailure, ErrorCode, SettingsError
from maskmill.schemas.labels import LabelMap
from tests.pipeline.datasets.dataset_runs import read_dataset

WALL, SKY, DOOR = 2978, 2420, 774
CLASSES = np.array([[0, WALL, WALL], [SKY, 0, DOOR], [SKY, DOOR, DOOR]])
INSTANCES = np.array([[0, 1, 1], [2, 0, 3], [2, 4, 4]])


def write_mask(path: Path, classes: np.ndarray = CLASSES) -> None:
    """R // 10 * 256 + G is the class, B a value of its own per instance, in their order."""
    red, green = classes // 256 * 10 + 3, classes % 256
    red[classes == 0] = 0
    pixels = np.stack([red, green, INSTANCES * 50], axis=2).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def names_of(sample: Sample) -> list[list[str]]:
    return [[sample.labels.names[value] for value in row] for row in sample.mask.tolist()]


NAMES = [
    ["background", "wall", "wall"], ["sky, heavens", "background", "door"],
    ["sky, heavens", "door", "door"],
]  # fmt: skip
LINES = [
    '001 # 0 # 0 # wall # wall # ""',
    '002 # 0 # 0 # sky, heavens # ciel # "blue, grey"',
    '003 # 0 # 1 # door # door # ""',
    '004 # 0 # 0 # door # Tür # ""',
    '001 # 1 # 0 # knob # knob # ""',
]


def test_the_text_lists_of_2016(tmp_path: Path) -> None:
    write_mask(tmp_path / "validation/a/ADE_1_seg.png")
    text = "\n".join([*LINES, ""])
    (tmp_path / "validation/a/ADE_1_atr.txt").write_bytes(text.encode("latin-1"))
    (found,) = read_dataset(tmp_path, "ade20k_full")
    assert found.labels.names == ("background", "door", "sky, heavens", "wall")
    assert names_of(found) == NAMES
    assert np.array_equal(found.objects, INSTANCES)
    assert found.key == "validation/a/ADE_1.jpg"


def test_the_json_lists_of_2020(tmp_path: Path) -> None:
    write_mask(tmp_path / "ADE_1_seg.png")
    objects = [
        {"id": 0, "name": "wall", "name_ndx": WALL, "parts": {"part_level": 0}},
        {"id": 1, "name": "sky, heavens", "name_ndx": SKY, "parts": {"part_level": 0}},
        {"id": 2, "name": "door", "name_ndx": DOOR, "parts": {"part_level": 0}},
        {"id": 3, "name": "door", "name_ndx": DOOR, "parts": {"part_level": 0}},
        {"id": 4, "name": "knob", "name_ndx": 1400, "parts": {"part_level": 1}},
    ]
    (tmp_path / "ADE_1.json").write_text(json.dumps({"annotation": {"object": objects}}))
    (found,) = read_dataset(tmp_path, "ade20k_full")
    assert names_of(found) == NAMES
    assert {entry.name: entry.category_id for entry in found.labels.classes[1:]} == {
        "door": DOOR, "sky, heavens": SKY, "wall": WALL,
    }  # fmt: skip


def test_a_picture_without_any_background_counts_instances_alike(tmp_path: Path) -> None:
    classes = np.where(CLASSES == 0, WALL, CLASSES)
    pixels = np.stack([classes // 256 * 10, classes % 256, np.maximum(INSTANCES, 1)], axis=2)
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "ADE_1_seg.png")
    (tmp_path / "ADE_1_atr.txt").write_text("\n".join(LINES))
    (found,) = read_dataset(tmp_path, "ade20k_full")
    assert names_of(found)[0] == ["wall", "wall", "wall"]
    assert np.array_equal(found.objects, np.maximum(INSTANCES, 1))


def test_lists_that_contradict_their_mask_or_are_none(tmp_path: Path) -> None:
    path = tmp_path / "ADE_1_seg.png"
    write_mask(path)
    for text, code in (
        ("\n".join([*LINES[:3], LINES[3].replace("door #", "gate #")]), ErrorCode.MALFORMED),
        ("\n".join(LINES[:2]), ErrorCode.UNKNOWN_CLASS),
        ("no list at all", ErrorCode.MALFORMED),
    ):
        (tmp_path / "ADE_1_atr.txt").write_text(text)
        with pytest.raises(DocumentFailure) as caught:
            read_dataset(tmp_path, "ade20k_full")
        assert caught.value.code is code
    (tmp_path / "ADE_1_atr.txt").unlink()
    with pytest.raises(SettingsError, match="--labels"):
        read_dataset(tmp_path, "ade20k_full")
    labels = LabelMap.from_dict(
        {
            "name": "numbers",
            "classes": [
                {"name": "other", "is_background": True},
                {"name": "wall", "category_id": WALL},
                {"name": "sky", "category_id": SKY},
                {"name": "door", "category_id": DOOR},
            ],
        }
    )
    (found,) = read_dataset(tmp_path, "ade20k_full", labels)
    assert found.mask.tolist() == [[0, 1, 1], [2, 0, 3], [2, 3, 3]]
