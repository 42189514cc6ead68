"""Every kind of side: mask folders, datasets, prelabel runs; classes that meet or are mapped."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from maskmill.pipeline.audit.operator import AuditSettings
from maskmill.pipeline.audit.pairing import pair_masks
from maskmill.pipeline.audit.sides import (
    AuditSide,
    guess_format,
    list_side,
    missing_classes,
    read_side,
    rules_to_edit,
    side_formats,
    with_mapping,
)
from maskmill.pipeline.datasets.registry import DATASET_FORMATS
from maskmill.pipeline.datasets.samples import Sample
from maskmill.pipeline.masks.registry import MASK_FORMATS
from maskmill.schemas.errors import DocumentFailure, RunFailed, SettingsError
from maskmill.schemas.labels import LabelMap
from maskmill.schemas.tables.prelabel import METADATA
from tests.pipeline.audit.audited import audited
from tests.pipeline.datasets.dataset_runs import write_dataset

LABELS = LabelMap.from_names("three", ["background", "cat", "dog"])


def mask(seed=0):
    rng = np.random.default_rng(seed)
    made = np.zeros((40, 60), np.uint8)
    made[5:20, 5:25], made[22:36, 30:50] = 1, 2
    made[rng.integers(0, 15) :][:3, :4] = 1
    return made


def save_masks(folder, count=3):
    folder.mkdir()
    for number in range(count):
        Image.fromarray(mask(number)).save(folder / f"{number}.png")
    return str(folder)


def audit(predictions, truth, labels):
    """The rows of two listed sides."""
    pairing = pair_masks(predictions.files, truth.files)
    rows = [
        {"pair_id": number, "key": pair.key, "error_code": pair.problem and pair.problem.value,
         **{f"{name}_{part}": getattr(getattr(pair, name), part, None)
            for name in ("prediction", "truth") for part in ("uri", "item")}}
        for number, pair in enumerate(pairing.pairs, start=1)
    ]  # fmt: skip
    settings = AuditSettings(labels=labels, prediction=predictions.side, truth=truth.side)
    return audited(rows, settings)


@pytest.mark.parametrize(
    "name", ["coco", "voc", "panoptic", "labelme", "ade20k", "masks_per_class"]
)
def test_datasets_are_sides(tmp_path, name):
    samples = [
        Sample(key=f"{number}.jpg", mask=mask(number), labels=LABELS, image=f"{number}.jpg")
        for number in range(3)
    ]
    write_dataset(samples, tmp_path / "set", name, max_loss=0.01, split_of=lambda key: "train")
    truth = list_side(str(tmp_path / "set"), format=name, labels=LABELS)
    assert len(truth.files) == 3
    predictions = with_mapping(list_side(save_masks(tmp_path / "masks")), LABELS)
    rows = audit(predictions, with_mapping(truth, LABELS), LABELS)
    assert [(row["status"], row["miou"]) for row in rows] == [("ok", 1.0)] * 3, rows


def save_run(folder, labels=LABELS, soft=False):
    """A prelabel OUT: two images done, one failed."""
    (folder / "masks/sub").mkdir(parents=True)
    (folder / "metadata").mkdir()
    record = {
        "command": "prelabel", "identity": {}, "label_map": labels.to_dict(), "state": "finished",
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "annotations.json").write_text('{"images": [], "annotations": []}')
    rows = []
    for number in range(3):
        row = dict.fromkeys(METADATA.names) | {
            "image_id": number + 1, "key": f"sub/{number}.jpg", "uri": f"/photos/sub/{number}.jpg",
            "block": 0, "status": "ok" if number < 2 else "failed",
        }  # fmt: skip
        if number < 2:
            row["mask_path"] = f"masks/sub/{number}.png"
            Image.fromarray(mask(number)).save(folder / row["mask_path"])
            file = {"name": "soft", "path": f"soft/sub/{number}.npz", "sha256": ""}
            row["files"] = [file] if soft else []
        rows.append(row)
    import pyarrow.parquet as pq

    pq.write_table(
        pa.Table.from_pylist(rows, schema=METADATA), folder / "metadata/block-0000000.parquet"
    )
    return str(folder)


def test_a_prelabel_run_is_a_side(tmp_path):
    out = save_run(tmp_path / "run")
    assert guess_format(out).format == "prelabel"
    listing = list_side(out)
    assert [file.key for file in listing.files] == ["sub/0.jpg", "sub/1.jpg"]
    assert listing.side.labels == LABELS
    assert [one.uri for one in listing.pictures] == ["/photos/sub/0.jpg", "/photos/sub/1.jpg"]
    assert len(listing.confidences) == 0
    rows = audit(listing, list_side(save_masks(tmp_path / "truth")), LABELS)
    assert [row["error_code"] for row in rows] == [None, None, "missing_prediction"]
    out = save_run(tmp_path / "soft run", soft=True)
    (_, soft) = (one.uri for one in list_side(out).confidences)
    assert soft.startswith(str(tmp_path)) and "/soft/sub/1." in soft


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("name, files", [
    ("cvat_mask", ["labelmap.txt", "SegmentationClass/a.png", "SegmentationObject/a.png"]),
    ("voc", ["SegmentationClass/a.png", "SegmentationObject/a.png", "ImageSets/x.txt"]),
    ("auto", ["a.png", "labelmap.txt"]),
])  # fmt: skip
def test_masks_of_objects_are_not_taken_for_truth(tmp_path, name, files, archived):
    for file in files:
        (tmp_path / "set" / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask()).save(tmp_path / "set" / file, "PNG")
    source = str(tmp_path / "set")
    if archived:
        source = shutil.make_archive(source, "zip", source)
    assert guess_format(source).format == name
    if name == "voc":
        assert [file.key for file in list_side(source).files] == ["a"]


def test_datasets_of_two_formats_in_one_place_are_asked_about(tmp_path):
    (tmp_path / "SegmentationClass").mkdir()
    Image.fromarray(mask()).save(tmp_path / "SegmentationClass/a.png")
    (tmp_path / "a.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(SettingsError, match=r"is coco \(a\.json .*\) and voc \(a folder"):
        guess_format(str(tmp_path))


def test_what_was_recognised_is_said_with_its_reason(tmp_path):
    samples = [Sample(key="0.jpg", mask=mask(0), labels=LABELS, image="0.jpg")]
    write_dataset(samples, tmp_path / "set", "labelme")
    listing = list_side(str(tmp_path / "set"))
    assert len(listing.files) == 1 and "is read as labelme: 0.json is a" in listing.notes[0]


def test_an_empty_folder_is_an_empty_side(tmp_path):
    (tmp_path / "empty").mkdir()
    assert list(list_side(str(tmp_path / "empty")).files) == []
    rows = audit(list_side(str(tmp_path / "empty")), list_side(save_masks(tmp_path / "t")), LABELS)
    assert [row["error_code"] for row in rows] == ["missing_prediction"] * 3


def test_files_that_are_no_masks_are_said(tmp_path):
    folder = save_masks(tmp_path / "t")
    (tmp_path / "t/readme.md").write_text("no mask")
    listing = list_side(folder)
    assert len(listing.files) == 3 and ".md" in listing.notes[0]


def test_classes_meet_by_name(tmp_path):
    other = LabelMap.from_names("shuffled", ["background", "dog", "cat"])
    side = list_side(save_run(tmp_path / "run", other))
    mapped = with_mapping(side, LABELS)
    assert mapped.side.mapping == {0: 0, 1: 2, 2: 1}
    rows = audit(mapped, list_side(save_masks(tmp_path / "truth", 2)), LABELS)
    assert all(row["miou"] < 1 for row in rows)  # the run's 1 is a dog
    foreign = LabelMap.from_names("foreign", ["background", "cat", "horse"])
    with pytest.raises(SettingsError, match="horse"):
        with_mapping(list_side(save_run(tmp_path / "other", foreign)), LABELS)


def test_a_map_file_renames_merges_and_drops(tmp_path):
    rich = LabelMap.from_names("rich", ["background", "kitten", "tomcat", "dog", "fog"])
    (tmp_path / "map.txt").write_text("kitten = cat\ntomcat = cat\ndog = dog\nfog = @ignore\n")
    side = list_side(save_run(tmp_path / "run", rich))
    mapped = with_mapping(side, LABELS, str(tmp_path / "map.txt"))
    assert mapped.side.mapping == {0: 0, 1: 1, 2: 1, 3: 2, 4: None}


@pytest.mark.parametrize("format_name", sorted(MASK_FORMATS))
def test_a_folder_can_be_said_to_be_of_a_format(tmp_path, format_name):
    labels = LabelMap.from_names("two", ["background", "cat"])
    made = np.minimum(mask(), 1)
    data = MASK_FORMATS[format_name].encode(made, labels)
    path = tmp_path / f"m{MASK_FORMATS[format_name].extension}"
    path.write_bytes(data)
    side = AuditSide(uri=str(tmp_path), format=format_name)
    values, kind = read_side(side, labels, str(path), None, "m")
    np.testing.assert_array_equal(values, made)
    assert kind


def test_formats_offered_are_those_that_can_be_read():
    assert side_formats()[0] == "auto"
    for name in side_formats()[1:]:
        assert DATASET_FORMATS[name].reader or DATASET_FORMATS[name].mask_format


@pytest.mark.parametrize("source, format_name, words", [
    ("nowhere", "auto", "nowhere"),
    (".", "jpeg2000", "no format 'jpeg2000'; there are: auto"),
])  # fmt: skip
def test_what_cannot_be_a_side(source, format_name, words):
    with pytest.raises(SettingsError, match=words):
        list_side(source, format=format_name)


def test_a_rule_about_all_others_keeps_the_classes_that_both_have(tmp_path):
    """Binary corrections of one class against a run of many."""
    run = LabelMap.from_names("run", ["background", "cat", "person", "dog"])
    binary = LabelMap.from_names("binary", ["background", "person"])
    side = list_side(save_run(tmp_path / "run", run))
    assert with_mapping(side, binary, "* = background").side.mapping == {0: 0, 1: 0, 2: 1, 3: 0}
    both = with_mapping(side, binary, "cat = person; * = @ignore").side.mapping
    assert both == {0: 0, 1: 1, 2: 1, 3: None}


def test_rules_to_edit_say_what_is_open(tmp_path):
    run = LabelMap.from_names("run", ["background", "kitten", "dog"])
    side = list_side(save_run(tmp_path / "run", run))
    assert missing_classes(side, LABELS) == ["kitten"]
    text = rules_to_edit(side, LABELS)
    assert "kitten = ?" in text and "dog = dog" in text and "@ignore" in text
    (tmp_path / "map.txt").write_text(text)
    with pytest.raises(SettingsError, match="no class '\\?'"):
        with_mapping(side, LABELS, str(tmp_path / "map.txt"))
    (tmp_path / "map.txt").write_text(text.replace("?", "cat"))
    assert with_mapping(side, LABELS, str(tmp_path / "map.txt")).side.mapping == {0: 0, 1: 1, 2: 2}


def test_how_a_side_is_read_goes_through_json(tmp_path):
    other = LabelMap.from_names("shuffled", ["background", "dog", "cat"])
    side = with_mapping(list_side(save_run(tmp_path / "run", other)), LABELS).side
    assert AuditSide.from_dict(json.loads(json.dumps(side.to_dict()))) == side


def test_a_torn_run_is_told_with_what_to_do(tmp_path):
    save_run(tmp_path / "run", LABELS)
    (tmp_path / "run/run.json").write_text("[" * 100_000)
    with pytest.raises(RunFailed, match="remove the folder and begin anew"):
        list_side(str(tmp_path / "run"), format="prelabel")


@pytest.mark.parametrize("shape", ["boxes", "masks"])
def test_a_side_of_boxes_alone_is_refused(tmp_path, shape):
    """Its masks would be background, and the numbers of background would look like a result."""
    polygon = [[1, 1, 5, 1, 5, 4, 1, 4]] if shape == "masks" else []
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 8, "height": 6}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [1, 1, 4, 3],
             "area": 12, "segmentation": polygon}
        ],
    }  # fmt: skip
    (tmp_path / "side.json").write_text(json.dumps(document))
    if shape == "masks":
        assert len(list_side(str(tmp_path / "side.json")).files) == 1
        return
    with pytest.raises(DocumentFailure, match=r"side\.json: no masks in this document: 1 boxes"):
        list_side(str(tmp_path / "side.json"))
