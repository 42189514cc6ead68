"""`maskmill labels`: what is built in, and every kind of label file as it is read."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from maskmill.jobs.cli import main
from maskmill.schemas.labels import builtin, builtin_names

VISTAS = {
    "version": "1.2",
    "labels": [
        {"name": "animal--bird", "readable": "Bird", "color": [165, 42, 42]},
        {"name": "void--unlabeled", "readable": "Unlabeled", "color": [0, 0, 0]},
    ],
}


def labels(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["labels", *map(str, arguments)])


def test_the_built_in_maps_are_listed_and_shown() -> None:
    done = labels("--json")
    assert done.exit_code == 0, done.output
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert set(found) == set(builtin_names()) >= {"voc", "cityscapes", "ade20k", "camvid"}
    shown_voc = [(one["name"], tuple(one["color"])) for one in found["voc"]["classes"]]
    assert shown_voc == [(one.name, one.color) for one in builtin("voc").classes]
    assert found["voc"]["ignore"] == 255
    assert all(name in labels().output for name in found)
    shown = labels("cityscapes").output
    assert "   18  bicycle        119,11,32    19" in shown


@pytest.mark.parametrize(
    ("file", "text", "form", "names"),
    [
        ("labelmap.txt", "background:0,0,0::\ncat:128,0,0::\nignored:224,224,192::\n",
         "labelmap.txt of CVAT", ["background", "cat"]),
        ("label_colors.txt", "64 128 64 Animal\n", "label_colors.txt of CamVid", ["Animal"]),
        ("labels.txt", "__ignore__\n_background_\ncat\n", "names, one per line",
         ["_background_", "cat"]),
        ("classes.txt", "0 sky\n1: road sign\n", "numbered names, one per line",
         ["sky", "road sign"]),
        ("_classes.csv", "Pixel Value, Class\n0, background\n1, lid\n", "table of classes",
         ["background", "lid"]),
        ("data.yaml", "nc: 1\nnames: [lid]\n", "names of ultralytics' data.yaml", ["lid"]),
        ("id2label.json", '{"0": "sky"}', "names by index (id2label)", ["sky"]),
        ("dataset_meta.json", '{"label_map": {"0": "sky"}}', "dataset_meta.json of datumaro",
         ["sky"]),
        ("coco.json", '{"categories": [{"id": 7, "name": "cat"}]}', "COCO document",
         ["background", "cat"]),
        ("config_v1.2.json", json.dumps(VISTAS), "config.json of Mapillary Vistas",
         ["animal--bird", "void--unlabeled"]),
        ("labels.json", '{"name": "x", "classes": [{"name": "lid"}]}', "maskmill label map",
         ["lid"]),
    ],
)  # fmt: skip
def test_a_label_file_is_shown_as_it_is_read(
    tmp_path: Path, file: str, text: str, form: str, names: list[str]
) -> None:
    (tmp_path / file).write_text(text)
    done = labels(tmp_path / file, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["format"], [one["name"] for one in found["classes"]]) == (form, names)
    assert [one["index"] for one in found["classes"]] == list(range(len(names)))
    plain = labels(tmp_path / file).output
    assert form in plain and all(name in plain for name in names)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("names.yaml", "person\n", "is plain text, and has no 'names'"),
        ("names.yml", "- person\n", "is a list, and has no 'names'"),
        ("labels.json", "person\n", "is not valid JSON"),
        ("classes.csv", "0,background\n1,person\n", "needs a column Name"),
        ("label_map.pbtxt", "item {\n id: 1\n name: 'x'\n}\n", "line 1: a brace"),
        ("classes.txt", "1 person\n2 car\n", "must count from 0"),
    ],
)
def test_what_is_no_label_file_is_not_taken_for_names(
    tmp_path: Path, file: str, text: str, message: str
) -> None:
    (tmp_path / file).write_text(text)
    done = labels(tmp_path / file)
    assert done.exit_code == 2
    assert message in done.output and file in done.output
    assert "Traceback" not in done.output
