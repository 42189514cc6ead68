"""Fifty data sets as their makers lay them out: each is told for what it is, or not named at all.

What `inspect` prints as `next:` is run, and the areas by class name that come out are compared with
counts of the stored values, taken by Pillow and numpy.
"""

import json
import shlex
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from maskmill.jobs.cli import main
from maskmill.schemas.labels import builtin
from tests.jobs.convert_in_process import convert_in_process
from tests.pipeline.inspect import folders

BACKGROUNDS = ("background", "_background_", "other", "Void", "unlabeled")


def names_of(labels: str) -> dict[int, str]:
    return {entry.index: entry.name for entry in builtin(labels).classes}


def colors_of(labels: str) -> dict[tuple[int, int, int], str]:
    return {entry.color: entry.name for entry in builtin(labels).classes}


@dataclass(frozen=True)
class Told:
    """What `inspect` must say; ``meaning``: stored value or colour -> class name, of ``masks``."""

    write: folders.Writer
    name: str
    reads: str
    masks: str = ""
    meaning: Mapping[object, str] = field(default_factory=dict)
    origin: str = ""


NAMED = {
    "voc 2012": Told(folders.voc2012, "voc", "voc", "SegmentationClass/*.png", names_of("voc"),
                     "the built-in map voc"),
    "camvid": Told(folders.camvid, "colours", "color", "LabeledApproved_full/*",
                   colors_of("camvid"), "label_colors.txt"),
    "camvid without its list": Told(folders.camvid_without_list, "camvid", "color",
                                    "LabeledApproved_full/*", colors_of("camvid"),
                                    "the built-in map camvid"),
    "camvid of SegNet": Told(folders.camvid_of_segnet, "camvid of SegNet", "camvid",
                             "trainannot/*", names_of("camvid11"), "the built-in map camvid11"),
    "cityscapes": Told(folders.cityscapes, "cityscapes labelIds", "cityscapes", "**/*_labelIds.png",
                       names_of("cityscapes_labelids"), "the built-in map cityscapes_labelids"),
    "cityscapes trainIds": Told(folders.cityscapes_train_ids, "cityscapes trainIds",
                                "cityscapes_train_ids", "**/*_labelTrainIds.png",
                                names_of("cityscapes"), "the built-in map cityscapes"),
    "cityscapes colours": Told(folders.cityscapes_colors, "cityscapes colours", "cityscapes_color",
                               "**/*_color.png", colors_of("cityscapes"),
                               "the built-in map cityscapes"),
    "kitti": Told(folders.kitti, "kitti semantic", "indexed", "training/semantic/*",
                  names_of("cityscapes_labelids"), "the built-in map cityscapes_labelids"),
    "vistas": Told(folders.vistas, "palette", "palette", "training/v1.2/labels/*",
                   dict(enumerate(folders.VISTAS["v1.2"])), "config_v1.2.json"),
    "ade20k": Told(folders.ade20k, "ade20k", "ade20k", "annotations/validation/*",
                   names_of("ade20k"), "the built-in map ade20k"),
    "ade20k full": Told(folders.ade20k_full, "ade20k_full", "ade20k_full", "**/*_seg.png",
                        {(110, 64, 60): "sky", (10, 165, 120): "building, edifice"},
                        "the ade20k_full layout"),
    "bdd100k": Told(folders.bdd100k, "bdd100k trainIds", "indexed", "labels/sem_seg/masks/train/*",
                    names_of("cityscapes"), "the built-in map cityscapes"),
    "bdd100k colours": Told(folders.bdd100k_colors, "bdd100k colours", "color",
                            "seg/color_labels/train/*", colors_of("cityscapes"),
                            "the built-in map cityscapes"),
    "cvat masks": Told(folders.cvat_masks, "cvat_mask", "cvat_mask", "SegmentationClass/*",
                       {(250, 50, 83): "pallet", (51, 221, 255): "forklift"}, "labelmap.txt"),
    "labelme2voc": Told(folders.labelme2voc, "palette", "palette", "SegmentationClassPNG/*",
                        {1: "sofa", 2: "cat"}, "class_names.txt"),
    "labelme2voc of today": Told(folders.labelme2voc_classes, "voc", "voc", "SegmentationClass/*",
                                 {1: "sofa", 2: "cat"}, "class_names.txt"),
    "roboflow": Told(folders.roboflow, "indices", "indexed", "*/*_mask.png",
                     {1: "crack", 2: "rust"}, "train/_classes.csv"),
    "ultralytics": Told(folders.ultralytics, "ultralytics_semantic", "ultralytics_semantic",
                        "masks/train/*", {0: "road", 1: "car"}, "the ultralytics_semantic layout"),
    "coco panoptic": Told(folders.coco_panoptic, "panoptic", "panoptic",
                          "annotations/panoptic_val2017/*",
                          {(76, 38, 61): "person", (77, 40, 61): "sky",
                           (220, 20, 60): "person", (221, 22, 60): "sky"}),
}  # fmt: skip
"""Sets whose classes are known: by a list, by their layout, or by names and values together."""

DOCUMENTS = {
    "supervisely": (folders.supervisely, "supervisely", {"lemon": 64}),
    "label studio": (folders.label_studio_json, "label_studio", {"person"}),
    "cvat images": (folders.cvat_images, "cvat_images", {"cat"}),
    "labelme": (folders.labelme_json, "labelme", {"cat", "sofa"}),
    "coco": (folders.coco_json, "coco", {"dog"}),
    "yolo": (folders.yolo, "yolo", {"cat", "dog"}),
}
"""Sets without masks of their own: told, and converted to masks."""

UNNAMED = {
    "pascal context": (folders.pascal_context, "indices", 5),
    "loveda": (folders.loveda, "indices", 8),
    "carvana": (folders.carvana, "palette", 2),
    "coco stuff things": (folders.coco_stuff_things, "indices", 6),
    "binary": (folders.binary, "binary 0/255", 2),
    "voc's colormap, somebody's classes": (folders.palette_of_nobody, "palette", 3),
    "grey JPEGs": (folders.grey_jpegs, "indices", 4),
}
"""Masks whose classes nothing names: values are shown, and names are asked for."""

NO_CLASSES = {
    "cityscapes instance ids": (folders.cityscapes_instances, "id * 1000"),
    "kitti instance ids": (folders.kitti_instances, "id * 256"),
    "bdd100k bitmasks": (folders.bdd100k_bitmasks, "R is the class"),
    "open images masks": (folders.open_images, "one file per object"),
    "davis": (folders.davis, "number the objects of each video"),
    "segments.ai bitmaps": (folders.segments_ai_bitmaps, "number objects"),
}
"""Masks whose values are no classes: refused by their name."""

FOREIGN = {
    "CVAT for video": (folders.cvat_video, "cvat_images"),
    "LabelMe XML": (folders.labelme_xml, "labelme"),
    "V7 Darwin": (folders.darwin, "coco"),
    "Segments.ai": (folders.segments_ai, "coco"),
}
"""Documents that are not read: refused by their name, and by `convert` in the same words."""


def inspect(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)])


def seen(root: Path, *arguments: object, exit_code: int = 0) -> dict[str, object]:
    done = inspect(root, *arguments, "--json")
    assert done.exit_code == exit_code, done.output
    return json.loads(done.stdout)


def converted(command: str, out: Path) -> Path:
    words = shlex.split(command)
    assert words[:2] == ["maskmill", "convert"], command
    words[words.index("OUT")] = str(out)
    done = convert_in_process(*words[2:])
    assert done.exit_code == 0, done.output
    return out / "dataset"


def areas_of_coco(dataset: Path) -> Counter[str]:
    (path,) = dataset.rglob("*.json")
    document = json.loads(path.read_text())
    names = {one["id"]: one["name"] for one in document["categories"]}
    areas: Counter[str] = Counter()
    for one in document["annotations"]:
        areas[names[one["category_id"]]] += one["area"]
    return areas


def areas_of_masks(root: Path, told: Told) -> Counter[str]:
    """Pixels by class name, from the stored values."""
    areas: Counter[str] = Counter()
    for path in sorted(root.glob(told.masks)):
        pixels = np.asarray(Image.open(path))
        flat = pixels.reshape(-1, pixels.shape[2])[:, :3] if pixels.ndim == 3 else pixels.ravel()
        values = map(tuple, flat.tolist()) if flat.ndim == 2 else flat.tolist()
        for value, count in Counter(values).items():
            if value in told.meaning:
                areas[told.meaning[value]] += count
    return Counter({name: area for name, area in areas.items() if name not in BACKGROUNDS})


@pytest.mark.parametrize("title", NAMED)
def test_what_is_known_is_converted_under_its_own_names(tmp_path: Path, title: str) -> None:
    told = NAMED[title]
    told.write(tmp_path / "set")
    found = seen(tmp_path / "set")
    convention = found["convention"]
    assert (convention["name"], convention["from"]) == (told.name, told.reads)
    assert found["classes_from"] == told.origin
    assert not found["sick"] and not found["unnamed"]
    assert len(found["findings"]) == 0
    areas = areas_of_masks(tmp_path / "set", told)
    assert areas_of_coco(converted(found["next"], tmp_path / "out")) == areas
    assert len(areas) >= 2
    names = {row["class"] for row in found["values"]} - {None, "(ignore)"}
    assert told.reads in ("panoptic", "ade20k_full") or set(areas) <= names


@pytest.mark.parametrize("title", DOCUMENTS)
def test_documents_are_told_and_become_masks(tmp_path: Path, title: str) -> None:
    write, name, classes = DOCUMENTS[title]
    write(tmp_path / "set")
    found = seen(tmp_path / "set")
    assert (found["files"], found["convention"]["name"]) == (0, name)
    dataset = converted(found["next"], tmp_path / "out")
    labels = {one["name"] for one in json.loads((dataset / "labels.json").read_text())["classes"]}
    assert set(classes) <= labels <= {*classes, "background"}
    masks = [np.asarray(Image.open(path)) for path in dataset.rglob("*.png")]
    assert masks and all(mask.shape == (48, 48) and mask.any() for mask in masks)


@pytest.mark.parametrize("title", UNNAMED)
def test_what_nothing_names_gets_no_names(tmp_path: Path, title: str) -> None:
    write, name, count = UNNAMED[title]
    write(tmp_path / "set")
    lossy = title == "grey JPEGs"
    found = seen(tmp_path / "set", exit_code=3 if lossy else 0)
    assert found["convention"]["name"] == name
    assert found["convention"]["labels"] == "" and found["classes"] is None
    assert found["unnamed"] and found["next"] == ""
    assert [row["class"] for row in found["values"]] == [None] * count
    plain = inspect(tmp_path / "set").output
    assert "classes are unnamed: give --labels FILE" in plain
    assert "next:" not in plain and "aeroplane" not in plain and "road" not in plain


@pytest.mark.parametrize("title", UNNAMED)
def test_convert_asks_for_names_where_inspect_does(tmp_path: Path, title: str) -> None:
    """Pointed at the masks alone, as a folder of masks of any kind."""
    UNNAMED[title][0](tmp_path / "set")
    masks = [path for path in (tmp_path / "set").rglob("*.*") if path.suffix in (".png", ".gif")]
    folder = masks[0].parent if masks else tmp_path / "set"
    done = convert_in_process(folder, tmp_path / "out", "--from", "masks", "--to", "coco")
    assert done.exit_code == 2, done.output
    assert "give them with --labels" in done.output


@pytest.mark.parametrize("title", NO_CLASSES)
def test_what_holds_no_classes_is_refused_by_its_name(tmp_path: Path, title: str) -> None:
    write, reason = NO_CLASSES[title]
    write(tmp_path / "set")
    found = seen(tmp_path / "set", exit_code=3)
    assert found["convention"]["name"] == title
    assert reason in found["convention"]["reason"]
    assert found["next"] == "" and found["classes"] is None
    assert [one["kind"] for one in found["findings"] if one["severity"] == "sick"] == ["no_classes"]


@pytest.mark.parametrize("title", FOREIGN)
def test_foreign_documents_are_refused_by_their_name(tmp_path: Path, title: str) -> None:
    write, reads = FOREIGN[title]
    write(tmp_path / "set")
    told = inspect(tmp_path / "set")
    assert told.exit_code == 2
    done = convert_in_process(tmp_path / "set", tmp_path / "out", "--from", reads, "--to", "coco")
    assert done.exit_code != 0
    for output in (told.output, done.output):
        assert title in output and "which is not read here: " in output


def test_convert_names_the_instance_ids_that_it_finds_instead(tmp_path: Path) -> None:
    folders.cityscapes_instances(tmp_path / "set")
    options = ("--from", "cityscapes", "--to", "coco")
    done = convert_in_process(tmp_path / "set", tmp_path / "out", *options)
    assert done.exit_code == 1
    assert "but *_gtFine_instanceIds.png; instanceIds are id * 1000 + object" in done.output


def test_label_studios_png_export_is_told_and_merged(tmp_path: Path) -> None:
    folders.label_studio_pngs(tmp_path / "set")
    found = seen(tmp_path / "set")
    assert found["convention"]["from"] == "label_studio_png"
    assert set(found["classes"]) == {"background", "person", "sky"} and not found["findings"]
    areas = areas_of_coco(converted(found["next"], tmp_path / "out"))
    covered = 0
    for task in (1, 2):
        files = (tmp_path / "set").glob(f"task-{task}-*")
        layers = [np.asarray(Image.open(path)) > 0 for path in files]
        covered += int(np.any(layers, axis=0).sum())
    assert set(areas) == {"person", "sky"} and sum(areas.values()) == covered


def test_an_empty_folder_and_pictures_alone(tmp_path: Path) -> None:
    folders.empty(tmp_path / "empty")
    folders.pictures(tmp_path / "pictures")
    assert "holds no mask; masks are .png" in inspect(tmp_path / "empty").output
    done = inspect(tmp_path / "pictures")
    assert done.exit_code == 2
    assert "only photographs: 0.jpg, 1.jpg, 2.png; maskmill prelabel labels them" in done.output


def test_two_versions_of_vistas_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    folders.vistas_both(tmp_path)
    for place in (tmp_path, tmp_path / "training"):
        found = seen(place)
        assert [(one["kind"], one["severity"]) for one in found["findings"]] == [
            ("several_sets", "odd")
        ]
        assert "mapillary vistas: masks of v1.2 and v2.0" in found["findings"][0]["sentence"]
        assert found["next"] == "" and found["classes"] is None
    for version, names in folders.VISTAS.items():
        found = seen(tmp_path / f"training/{version}/labels")
        assert found["classes"] == names
        assert found["next"].endswith(f"--labels {tmp_path}/config_{version}.json --check")
        areas = areas_of_coco(converted(found["next"], tmp_path / f"out{version}"))
        assert set(areas) == set(names)


def test_a_list_above_the_inspected_folder_is_read(tmp_path: Path) -> None:
    """Without it, labelme's example in VOC's colours and under VOC's file names were VOC's."""
    folders.labelme2voc(tmp_path)
    found = seen(tmp_path / "SegmentationClassPNG")
    assert found["classes"] == ["_background_", "sofa", "cat"]
    assert f"--labels {tmp_path}/class_names.txt" in found["next"]
    assert set(areas_of_coco(converted(found["next"], tmp_path / "out"))) == {"sofa", "cat"}
    (tmp_path / "class_names.txt").unlink()
    assert seen(tmp_path / "SegmentationClassPNG")["classes_from"] == "the built-in map voc"


def test_a_list_around_one_inspected_file_is_read(tmp_path: Path) -> None:
    folders.labelme2voc(tmp_path)
    (tmp_path / "class_names.txt").rename(tmp_path / "SegmentationClassPNG/class_names.txt")
    found = seen(tmp_path / "SegmentationClassPNG/2011_000003.png")
    assert found["classes"] == ["_background_", "sofa", "cat"]
    assert set(areas_of_coco(converted(found["next"], tmp_path / "out"))) == {"sofa", "cat"}


def test_convert_says_that_it_takes_classes_for_vocs(tmp_path: Path) -> None:
    """Asked for `--from voc`, in a folder of VOC's layout: no note where the files are VOC's."""
    folders.palette_of_nobody(tmp_path / "own")
    folders.voc2012(tmp_path / "voc")
    for name, is_noted in (("own", True), ("voc", False)):
        done = convert_in_process(tmp_path / name, tmp_path / f"{name} out", "--from", "voc",
                                  "--to", "coco")  # fmt: skip
        assert done.exit_code == 0, done.output
        assert ("taken for Pascal VOC's 21; give --labels" in done.stderr) == is_noted


def test_the_users_labels_come_first_and_stand_in_the_next_command(tmp_path: Path) -> None:
    folders.loveda(tmp_path / "set")
    labels = tmp_path / "mine.txt"
    labels.write_text("".join(f"land {value}\n" for value in range(8)))
    found = seen(tmp_path / "set", "--labels", labels)
    assert found["next"] == ""  # photographs lie between the masks' folders
    found = seen(tmp_path / "set/Train/Rural/masks_png", "--labels", labels)
    assert f"--labels {labels}" in found["next"]
    areas = areas_of_coco(converted(found["next"], tmp_path / "out"))
    assert set(areas) == {f"land {value}" for value in range(8)}


@pytest.mark.parametrize("title", ["voc 2012", "labelme2voc of today", "roboflow", "cvat masks"])
def test_an_archive_is_the_folder_that_it_holds(tmp_path: Path, title: str) -> None:
    told = NAMED[title]
    told.write(tmp_path / "set")
    archive = shutil.make_archive(str(tmp_path / "set"), "zip", tmp_path / "set")
    found = seen(Path(archive))
    assert (found["convention"]["name"], found["classes_from"]) == (told.name, told.origin)
    areas = areas_of_coco(converted(found["next"], tmp_path / "out"))
    assert areas == areas_of_masks(tmp_path / "set", told)


def test_a_broken_list_beside_the_masks_is_sick(tmp_path: Path) -> None:
    folders.labelme2voc_classes(tmp_path)
    (tmp_path / "class_names.txt").write_text("sofa\nsofa\n")
    found = seen(tmp_path, exit_code=3)
    (one,) = (one for one in found["findings"] if one["severity"] == "sick")
    assert one["kind"] == "class_list" and "repeats class name sofa" in one["sentence"]
    assert found["next"] == "" and found["classes"] is None


def test_labels_that_a_list_contradicts_are_said(tmp_path: Path) -> None:
    folders.roboflow(tmp_path)
    found = seen(tmp_path, "--labels", "voc")
    (one,) = found["findings"]
    assert (one["kind"], one["severity"]) == ("class_list", "odd")
    assert "names other classes than --labels" in one["sentence"]
    assert found["classes"] == list(builtin("voc").names) and found["next"] == ""


def test_what_lies_above_and_is_no_list_makes_no_mask_sick(tmp_path: Path) -> None:
    folders.ade20k(tmp_path / "set")
    (tmp_path / "labels.json").write_text('{"version": 1}')
    found = seen(tmp_path / "set")
    assert [(one["kind"], one["severity"]) for one in found["findings"]] == [("class_list", "odd")]
    areas = areas_of_coco(converted(found["next"], tmp_path / "out"))
    assert areas == areas_of_masks(tmp_path / "set", NAMED["ade20k"])
