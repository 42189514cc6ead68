"""LabelMap: order, ids, colours, and what is refused."""

import pytest

from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelClass, LabelMap, builtin, builtin_names, voc_color

# The first colours, the last class and void of the Pascal VOC development kit.
VOC_COLORS = {
    0: (0, 0, 0),
    1: (128, 0, 0),
    2: (0, 128, 0),
    3: (128, 128, 0),
    7: (128, 128, 128),
    8: (64, 0, 0),
    20: (0, 64, 128),
    21: (128, 64, 128),
    255: (224, 224, 192),
}


@pytest.mark.parametrize(("index", "color"), VOC_COLORS.items())
def test_voc_colors(index, color) -> None:
    assert voc_color(index) == color


def test_category_ids_are_class_indices_where_index_0_is_background() -> None:
    labels = LabelMap.from_names("x", ["background", "cat", "dog"])
    assert [entry["id"] for entry in labels.coco_categories()] == [1, 2]
    assert labels.background_index == 0


def test_category_ids_are_index_plus_1_without_background() -> None:
    labels = LabelMap.from_names("x", ["road", "sky"], background=None)
    assert [entry["id"] for entry in labels.coco_categories()] == [1, 2]
    assert labels.background_index is None


@pytest.mark.parametrize(("count", "ignore"), [(2, 255), (255, 255), (256, 65535), (300, 65535)])
def test_ignore_index_makes_room_for_the_classes(count, ignore) -> None:
    labels = LabelMap.from_names("x", [f"c{n}" for n in range(count)])
    assert labels.ignore_index == ignore
    assert labels.mask_dtype(ignore) == ignore


@pytest.mark.parametrize("name", builtin_names())
def test_builtin_maps_survive_their_own_document(name) -> None:
    labels = builtin(name)
    assert LabelMap.from_dict(labels.to_dict()) == labels
    assert len(labels.palette) == 768


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "has no class"),
        ([(1, "a", 1)], "0, 1, 2"),  # does not begin at 0
        ([(0, "a", 1), (2, "b", 2)], "0, 1, 2"),  # a gap
        ([(0, "a", 1), (1, "a", 2)], "repeats class name a"),
        ([(0, "a", 1), (1, "b", 1)], "repeats category id 1"),
    ],
)
def test_contradictions_are_refused(classes, message) -> None:
    entries = tuple(
        LabelClass(index=index, name=name, color=(0, 0, 0), category_id=category)
        for index, name, category in classes
    )
    with pytest.raises(SettingsError, match=message):
        LabelMap(name="x", classes=entries)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="aeroplane"):
        builtin("voc").index_of("plane")
    with pytest.raises(SettingsError, match="voc"):
        builtin("vok")
