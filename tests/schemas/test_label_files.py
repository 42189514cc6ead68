"""Every kind of label file, as other programs write it, and every way it can be wrong."""

import json
import subprocess
import sys

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


def test_a_category_that_comes_twice_is_one_class() -> None:
    document = [{"id": 2, "name": "cat"}, {"id": 5, "name": "dog"}, {"id": 9, "name": "cat"}]
    assert parse_label_map(json.dumps(document), name="x").names == ("background", "cat", "dog")


def test_black_first_is_the_background_of_camvid() -> None:
    labels = parse_label_map("0 0 0 Void\n64 128 64 Animal\n", name="label_colors.txt")
    assert labels.background_index == 0
    assert parse_label_map("64 1 2 Animal\n0 0 0 Void\n", name="x").background_index is None


def test_the_void_line_at_the_end_of_a_labelmap_is_no_class() -> None:
    labels = parse_label_map(CVAT + "ignored:224,224,192::\n", name="labelmap.txt")
    assert labels.names == ("background", "cat", "traffic light")


def test_background_is_where_it_is_named() -> None:
    assert parse_label_map("sky\n_background_\n", name="x").background_index == 1
    assert parse_label_map("sky\nroad\n", name="x").background_index is None


@pytest.mark.parametrize(
    ("text", "names", "background"),
    [
        ("names:\n  0: cat\n  1: dog\nnc: 2\n", ("cat", "dog"), None),
        ("train: images\nnames: [background, dog]\n", ("background", "dog"), 0),
        ('{"0": "background", "1": "dog", "10": "k", "2": "c", "3": "d", "4": "e", "5": "f", '
         '"6": "g", "7": "h", "8": "i", "9": "j"}', ("background", "dog", *"cdefghijk"), 0),
        ('{"id2label": {"0": "cat"}, "model_type": "x"}', ("cat",), None),
        ('{"label_map": {"0": "background", "1": "cat"}, "segmentation_colors": [[0, 0, 0], '
         '[1, 2, 3]]}', ("background", "cat"), 0),
        ("Pixel Value, Class\n0, background\n1, road sign\n", ("background", "road sign"), 0),
        ("name,r,g,b\nSky,1,2,3\nRoad,4,5,6\n", ("Sky", "Road"), None),
        ("Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.1\t9\t9\t1\twall\n", ("other", "wall"), 0),
        ('Idx,Name\n1,"door, double"\n', ("other", "door, double"), 0),
        ("__ignore__\n_background_\ncat\n", ("_background_", "cat"), 0),
        ('["cat", "dog"]', ("cat", "dog"), None),
    ],
)  # fmt: skip
def test_class_lists_of_other_programs(text, names, background) -> None:
    labels = parse_label_map(text, name="list")
    assert (labels.names, labels.background_index) == (names, background)


def test_colours_of_datumaro_and_of_tables_are_kept() -> None:
    meta = '{"label_map": {"0": "a"}, "segmentation_colors": [[7, 8, 9]]}'
    assert parse_label_map(meta, name="dataset_meta.json").classes[0].color == (7, 8, 9)
    table = parse_label_map("name,r,g,b\nSky,1,2,3\n", name="class_dict.csv")
    assert table.classes[0].color == (1, 2, 3)


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
        ("{broken", "not valid JSON"),
        ('{"labels": []}', "neither 'classes' nor 'categories'"),
        ('{"categories": [{"name": "x"}]}', "needs id and name"),
        ('{"classes": [{"color": [1, 2, 3]}]}', "not a label map"),
        ("cat\ncat\n", "repeats class name cat"),
        ("cat:1,2,3::\ncat:4,5,6::\n", "line 2: class 'cat' is there twice"),
        ("1 2 3 cat\n1 2 300 dog\n", "line 2: 1,2,300 is no colour"),
        (":1,2,3::\n", "line 1: a class without a name"),
        ("a\0b\n", "is no class name"),
        ("[" * 100_000, "nested too deeply"),
        ("names: " + "[" * 100_000, "nested too deeply"),
        ("names: !!python/object/apply:os.system ['true']\n", "not YAML we read: could not"),
        ("names: {0: cat, 2: dog}\n", "there is no 1"),
        ("names: [cat]\nnc: 3\n", "nc is 3, but there are 1 names"),
        ("names: []\n", "names no class"),
        ("names: 2026-99-99\n", "not YAML we read"),
        ('{"0": "cat", "3": "dog"}', "there is no 1"),
        ('{"label_map": {"0": "a"}, "segmentation_colors": [[1, 2], [3]]}', "1 labels and 2"),
        ("Idx,Name\n2,wall\n", "must count from 0 or 1"),
        ("Idx,Name\n1,\n", "row 1 has no name"),
    ],
)
def test_what_does_not_fit_is_named(text, message) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        parse_label_map(text, name="some/labels.file")
    assert "some/labels.file" in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_lists_the_builtin_names() -> None:
    with pytest.raises(SettingsError, match="voc"):
        load_label_map("no/such/file.txt")


@pytest.mark.parametrize("path", ["a\0b", "."])
def test_what_is_no_file_is_one_sentence(path) -> None:
    with pytest.raises(SettingsError, match="give a label file or one of: ade20k"):
        load_label_map(path)


def test_label_maps_are_found_from_any_working_folder(tmp_path) -> None:
    code = "from maskmill.schemas.labels import builtin; print(len(builtin('voc').classes))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "21\n"
