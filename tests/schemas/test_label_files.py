"""Every kind of label file, as other programs write it, and every way it can be wrong."""

import json

import pytest

from maskmill.schemas.errors import SettingsError
from maskmill.schemas.label_files import load_label_map, parse_label_map
from maskmill.schemas.labels import builtin

CVAT = """# label:color_rgb:parts:actions
background:0,0,0::
cat:128,0,0::
traffic light:0,128,0:red,green:blink
"""


def test_cvat_labelmap() -> None:
    labels = parse_label_map(CVAT, name="labelmap")
    assert labels.names == ("background", "cat", "traffic light")
    assert labels.classes[2].color == (0, 128, 0)
    assert labels.background_index == 0


def test_camvid_label_colors() -> None:
    labels = parse_label_map("64 128 64 Animal\n192 0 128 Traffic Light\n", name="label_colors")
    assert labels.names == ("Animal", "Traffic Light")
    assert labels.classes[0].color == (64, 128, 64)
    assert labels.background_index is None


def test_coco_categories_keep_their_ids_in_order() -> None:
    document = {"categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car", "isthing": 1}]}
    labels = parse_label_map(json.dumps(document), name="coco")
    assert [(entry.index, entry.name, entry.category_id) for entry in labels.classes] == [
        (0, "background", 0),
        (1, "car", 3),
        (2, "dog", 18),
    ]


def test_coco_background_under_id_0_is_not_listed_twice() -> None:
    document = [{"id": 0, "name": "background"}, {"id": 1, "name": "cat"}]
    assert parse_label_map(json.dumps(document), name="x").names == ("background", "cat")


def test_names_one_a_line() -> None:
    labels = parse_label_map("\ufeffroad\n\n# a comment\nsky\n".lstrip("\ufeff"), name="names")
    assert labels.names == ("road", "sky")


def test_own_json_round_trip(tmp_path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(builtin("voc").to_dict()))
    assert load_label_map(str(path)) == builtin("voc")


def test_builtin_by_name() -> None:
    assert load_label_map("voc") == builtin("voc")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:b:1,2,3::\n", "line 1: 5 fields"),  # a colon inside a name
        ("cat:1,2::\n", "line 1: 1,2 is no colour"),
        ("cat:1,2,300::\n", "outside 0..255"),
        ("", "names no class"),
        ("# only a comment\n", "names no class"),
        ("{broken", "not JSON"),
        ('{"labels": []}', "neither 'classes' nor 'categories'"),
        ('{"categories": [{"name": "x"}]}', "needs id and name"),
        ('{"classes": [{"color": [1, 2, 3]}]}', "not a label map"),
        ("cat\ncat\n", "repeats class name cat"),
    ],
)
def test_what_does_not_fit_is_named(text, message) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_label_map(text, name="x")


def test_a_missing_file_lists_the_builtin_names() -> None:
    with pytest.raises(SettingsError, match="voc"):
        load_label_map("no/such/file.txt")
