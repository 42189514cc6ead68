"""One reader of label files: the same text is the same classes by --labels and in a dataset."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import ReadOptions
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.schemas.errors import DocumentFailure, SettingsError
from maskmill.schemas.label_files import KINDS, load_label_map
from maskmill.schemas.labels import LabelClass, LabelMap, labels_with_background

HOMES = {
    "voc": ("labelmap.txt", "SegmentationClass/a.png"),
    "cvat_mask": ("labelmap.txt", "SegmentationClass/a.png"),
    "camvid": ("label_colors.txt", "trainannot/a.png"),
    "cityscapes": ("label_colors.txt", "gtFine/train/x/a_gtFine_labelIds.png"),
    "ultralytics_semantic": ("data.yaml", "masks/train/a.png"),
    "huggingface": ("id2label.json", "metadata.jsonl"),
    "ade20k": ("objectInfo.csv", "annotations/training/a.png"),
    "masks": ("labels.json", "masks/a.png"),
    "indexed": ("class_names.txt", "masks/a.png"),
    "palette": ("_classes.csv", "masks/a.png"),
    "yolo": ("data.yaml", "labels/train/a.txt"),
    "labelme": ("labels.txt", "a.json"),
    "coco": ("annotations.json", "annotations.json"),
}
"""Format -> its label file, and a file that makes the tree one of that format."""
WITH_BACKGROUND = ("yolo", "labelme")
"""Formats of shapes: what no shape covers is background, which the file need not name."""
METADATA = '{"file_name": "a.jpg", "mask_file_name": "a.png"}'
COCO = '{"images": [{"id": 1, "file_name": "a.jpg", "height": 2, "width": 2}], "categories": %s}'

words = st.text("ab _üß猫", min_size=1, max_size=6).map(str.strip).filter(bool)
names = st.lists(words, min_size=1, max_size=5, unique=True)
colors = st.tuples(*[st.integers(0, 255)] * 3)


@st.composite
def texts(draw: st.DrawFn, name: str) -> str:
    """A label file as ``name`` has it, with what such files have besides plain lines."""
    listed = draw(names)
    if draw(st.booleans()):
        listed.insert(draw(st.integers(0, len(listed))), "background")
    painted = [draw(colors) for _ in listed]
    file = HOMES[name][0]
    if file == "labelmap.txt":
        lines = ["# label:color_rgb:parts:actions"]
        lines += [f"{one}:{r},{g},{b}::" for one, (r, g, b) in zip(listed, painted, strict=True)]
        return "\n".join([*lines, *(["ignored:224,224,192::"] if draw(st.booleans()) else []), ""])
    if file == "label_colors.txt":
        pairs = zip(listed, painted, strict=True)
        return "".join(f"{r} {g} {b} {one}\r\n" for one, (r, g, b) in pairs)
    if file == "data.yaml":
        rows = "".join(f"  {place}: '{one}'\n" for place, one in enumerate(listed))
        return f"train: images/train\nnames:\n{rows}"
    if file.endswith(".csv"):
        head, first = ("Idx,Name", 1) if name == "ade20k" else ("Pixel Value, Class", 0)
        rows = "".join(f"{place},{one}\n" for place, one in enumerate(listed, first))
        return f"{head}\n{rows}"
    if file == "id2label.json":
        return "{" + ",".join(f'"{place}":"{one}"' for place, one in enumerate(listed)) + "}"
    if file == "labels.json":
        rows = ",".join(f'{{"name":"{one}"}}' for one in listed)
        return f'{{"name":"mine","classes":[{rows}]}}'
    if name == "coco":
        ids = draw(st.lists(st.integers(0, 99), min_size=len(listed), max_size=len(listed),
                            unique=True))  # fmt: skip
        rows = ",".join(f'{{"id":{i},"name":"{n}"}}' for i, n in zip(ids, listed, strict=True))
        return COCO % f"[{rows}]"
    return "__ignore__\n" * draw(st.booleans()) + "".join(f"{one}\n" for one in listed)


def classes_in_dataset(root: Path, name: str) -> tuple[LabelClass, ...]:
    tree = open_tree(str(root))
    return dataset_format(name).load_reader().index(tree, ReadOptions()).labels.classes


def save(root: Path, name: str, text: str) -> Path:
    """The smallest dataset of a format around its label file."""
    (root / HOMES[name][1]).parent.mkdir(parents=True, exist_ok=True)
    if HOMES[name][1].endswith(".png"):
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(root / HOMES[name][1])
    else:
        (root / HOMES[name][1]).write_text(METADATA if name == "huggingface" else "")
    path = root / HOMES[name][0]
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("name", HOMES)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_same_text_is_the_same_map_both_ways(name: str, data: st.DataObject) -> None:
    text = data.draw(texts(name))
    with tempfile.TemporaryDirectory() as folder:
        told = load_label_map(str(save(Path(folder), name, text)))
        found = classes_in_dataset(Path(folder), name)
    if name in WITH_BACKGROUND:
        told = labels_with_background("shapes", told.names)
    assert found == told.classes


def test_what_is_wrong_is_a_failure_of_the_dataset_or_of_the_command(tmp_path: Path) -> None:
    path = save(tmp_path, "voc", "background:0,0,0::\n\ncat:1,2::\n")
    with pytest.raises(DocumentFailure, match=r"labelmap\.txt, line 3: 1,2 is no colour"):
        classes_in_dataset(tmp_path, "voc")
    with pytest.raises(SettingsError, match=r"labelmap\.txt, line 3: 1,2 is no colour"):
        load_label_map(str(path))


@pytest.mark.parametrize("text", ["names: !!python/name:os.system\n", "names: [" + "[" * 99_999])
def test_a_hostile_yaml_is_one_sentence(tmp_path: Path, text: str) -> None:
    save(tmp_path, "yolo", text)
    with pytest.raises(DocumentFailure, match=r"data\.yaml is not YAML we read: .+$") as caught:
        classes_in_dataset(tmp_path, "yolo")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("file", ["train/_classes.csv", "obj.names", "train/masks/classes.txt"])
def test_a_class_list_is_found_wherever_it_lies(tmp_path: Path, file: str, archived: bool) -> None:
    root = tmp_path / "set"
    (root / "train/masks").mkdir(parents=True)
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(root / "train/masks/a.png")
    is_table = file.endswith(".csv")
    (root / file).write_text("Pixel Value, Class\n0, background\n1, x\n" if is_table else "a\nb\n")
    source = Path(shutil.make_archive(str(root), "zip", root)) if archived else root
    found = classes_in_dataset(source, "masks")
    assert [one.name for one in found] == (["background", "x"] if is_table else ["a", "b"])


def test_two_lists_that_disagree_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "masks", '{"classes": [{"name": "a"}]}')
    (tmp_path / "classes.txt").write_text("b\n")
    with pytest.raises(DocumentFailure, match=r"classes\.txt and labels\.json name other classes"):
        classes_in_dataset(tmp_path, "masks")


def test_names_of_a_famous_set_are_not_given_to_another(tmp_path: Path) -> None:
    """SegNet's CamVid has 12 grey indices, and annotations/ is nobody's own folder."""
    for name, file in (("camvid", "trainannot/a.png"), ("ade20k", "annotations/training/a.png")):
        (tmp_path / name / file).parent.mkdir(parents=True)
        Image.fromarray(np.full((2, 2), 11, np.uint8)).save(tmp_path / name / file)
        with pytest.raises(SettingsError, match="--labels"):
            classes_in_dataset(tmp_path / name, name)
    given_ = LabelMap.from_names("given", [f"c{n}" for n in range(12)])
    reader = dataset_format("camvid").load_reader()
    tree = open_tree(str(tmp_path / "camvid"))
    assert reader.index(tree, ReadOptions(labels=given_)).labels == given_


def test_every_kind_has_a_home() -> None:
    assert set(KINDS) == {"json", "yaml", "labelmap", "label_colors", "csv", "names"}
