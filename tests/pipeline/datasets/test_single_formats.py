"""What single formats promise beside giving back their pixels."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from maskmill.pipeline.datasets.recognition import recognise
from maskmill.pipeline.datasets.registry import DATASET_FORMATS
from maskmill.pipeline.datasets.samples import ReadOptions, Sample
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.schemas.errors import ErrorCode, MaskFailure, SettingsError
from maskmill.schemas.labels import LabelMap, builtin
from maskmill.schemas.tables.prelabel import METADATA
from tests.pipeline.datasets.dataset_runs import read_dataset, write_dataset

LABELS = LabelMap.from_names("single", ["background", "cat", "dog"])
MASK = np.array([[0, 1, 1], [2, 2, 0]], np.uint8)


def sample(**fields: object) -> Sample:
    values = {"key": "sub/a.jpg", "mask": MASK, "labels": LABELS, "image": "sub/a.jpg", **fields}
    return Sample(**values)


def test_a_finished_prelabel_run_is_read_with_its_scores(tmp_path: Path) -> None:
    (tmp_path / "masks/sub").mkdir(parents=True)
    image = Image.fromarray(MASK, "P")
    image.putpalette(LABELS.palette)
    image.save(tmp_path / "masks/sub/a.png")
    row = dict.fromkeys(METADATA.names)
    row |= {
        "image_id": 1, "key": "sub/a.jpg", "uri": "/photos/sub/a.jpg", "block": 0, "status": "ok",
        "mask_path": "masks/sub/a.png",
        "classes": [
            {"index": 1, "name": "cat", "mean_confidence": 0.75},
            {"index": 2, "name": "dog", "mean_confidence": None},
        ],
    }  # fmt: skip
    failed = {**row, "image_id": 2, "key": "b.jpg", "status": "failed", "mask_path": None}
    (tmp_path / "metadata").mkdir()
    table = pa.Table.from_pylist([row, failed], schema=METADATA)
    pq.write_table(table, tmp_path / "metadata/block-0000000.parquet")
    record = {"label_map": LABELS.to_dict(), "state": "finished"}
    (tmp_path / "run.json").write_text(json.dumps(record))
    (found,) = read_dataset(tmp_path, "prelabel")
    assert np.array_equal(found.mask, MASK)
    assert found.scores == {1: 0.75}
    assert found.image == "/photos/sub/a.jpg"
    (tmp_path / "run.json").write_text(json.dumps({**record, "state": "running"}))
    with pytest.raises(SettingsError, match="not finished"):
        read_dataset(tmp_path, "prelabel")


def test_scores_travel_to_label_studio_and_coco_results(tmp_path: Path) -> None:
    scored = sample(scores={1: 0.9, 2: 0.5}, source_id=77)
    write_dataset([scored], tmp_path / "ls", "label_studio")
    (task,) = json.loads((tmp_path / "ls/tasks.json").read_text())
    assert task["predictions"][0]["score"] == pytest.approx(0.7)
    assert [one["score"] for one in task["predictions"][0]["result"]] == [0.9, 0.5]
    (back,) = read_dataset(tmp_path / "ls", "label_studio")
    assert back.scores == {1: 0.9, 2: 0.5}
    write_dataset([scored], tmp_path / "results", "coco_results")
    results = json.loads((tmp_path / "results/results.json").read_text())
    assert [(one["image_id"], one["category_id"], one["score"]) for one in results] == [
        (77, 1, 0.9),
        (77, 2, 0.5),
    ]
    assert all(isinstance(one["segmentation"]["counts"], str) for one in results)


def test_label_studio_prefers_what_annotators_did(tmp_path: Path) -> None:
    write_dataset([sample()], tmp_path, "label_studio")
    path = tmp_path / "tasks.json"
    (task,) = json.loads(path.read_text())
    done = [task["predictions"][0]["result"][0]]
    task["annotations"] = [{"was_cancelled": True, "result": []}, {"result": done}]
    path.write_text(json.dumps([task]))
    (found,) = read_dataset(tmp_path, "label_studio")
    assert np.array_equal(found.mask, np.where(MASK == 1, 1, 0))


def test_objects_keep_their_identity(tmp_path: Path) -> None:
    """Two cats stay two objects through every format that knows objects."""
    mask = np.array([[1, 1, 0, 1, 1]], np.uint8)
    objects = np.array([[1, 1, 0, 2, 2]], np.int32)
    for name in ("coco", "panoptic", "voc", "cvat_images", "supervisely", "labelme"):
        write_dataset([sample(mask=mask, objects=objects)], tmp_path / name, name)
        (found,) = read_dataset(tmp_path / name, name)
        assert found.objects is not None, name
        numbers = found.objects[mask == 1]
        assert numbers[0] == numbers[1] != numbers[2] == numbers[3], name


def test_cityscapes_ids_of_its_own_classes(tmp_path: Path) -> None:
    """trainIds 0..18 become the official labelIds, and ignore becomes unlabeled."""
    labels = builtin("cityscapes")
    mask = np.array([[*range(19), 255]], np.uint8)
    write_dataset([sample(key="aachen/a.png", mask=mask, labels=labels)], tmp_path, "cityscapes")
    ids = np.asarray(Image.open(tmp_path / "gtFine/train/aachen/a_gtFine_labelIds.png"))
    official = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert ids[0].tolist() == [*official, 0]
    for name in ("cityscapes_train_ids", "cityscapes_color"):
        (found,) = read_dataset(tmp_path, name)
        assert np.array_equal(found.mask, mask), name
        assert found.key == "aachen/a"


def test_parquet_names_its_features_as_datasets_reads_them(tmp_path: Path) -> None:
    write_dataset([sample()], tmp_path, "huggingface_parquet", pictures=True)
    schema = pq.read_schema(tmp_path / "data/train-00000-of-00001.parquet")
    assert json.loads(schema.metadata[b"huggingface"]) == {
        "info": {
            "features": {
                "image": {"_type": "Image"},
                "mask": {"_type": "Image"},
                "file_name": {"dtype": "string", "_type": "Value"},
            }
        }
    }
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    assert schema.field("mask").type == schema.field("image").type == image


def test_one_file_per_class_has_no_ignore(tmp_path: Path) -> None:
    mask = MASK.copy()
    mask[0, 0] = 255
    with pytest.raises(MaskFailure) as caught:
        write_dataset([sample(mask=mask)], tmp_path, "masks_per_class")
    assert caught.value.code is ErrorCode.CANNOT_HOLD


def test_tfrecords_need_the_picture(tmp_path: Path) -> None:
    with pytest.raises(MaskFailure) as caught:
        write_dataset([sample(image=None)], tmp_path, "tfrecord")
    assert caught.value.code is ErrorCode.MISSING_IMAGE


def test_the_full_ade20k_set_by_class_numbers(tmp_path: Path) -> None:
    """R // 10 * 256 + G is the class number, B tells instances."""
    labels = LabelMap.from_dict(
        {
            "name": "full",
            "classes": [
                {"name": "other", "is_background": True},
                {"name": "wall", "category_id": 2978},
                {"name": "sky", "category_id": 2420},
            ],
        }
    )
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 1:] = (110, 2978 - 11 * 256, 40)
    pixels[1, :1] = (90, 2420 - 9 * 256, 80)
    Image.fromarray(pixels).save(tmp_path / "ADE_1_seg.png")
    (found,) = read_dataset(tmp_path, "ade20k_full", labels)
    assert found.mask.tolist() == [[0, 1, 1], [2, 0, 0]]
    assert found.objects is not None
    assert len(np.unique(found.objects)) == 3


@pytest.mark.parametrize("name", ["voc", "cvat_mask", "camvid", "ultralytics_semantic"])
def test_eight_bit_formats_refuse_what_they_cannot_hold(tmp_path: Path, name: str) -> None:
    labels = LabelMap.from_names("many", ["background", *(f"c{n}" for n in range(300))])
    mask = np.full((2, 2), 280, np.uint16)
    with pytest.raises((MaskFailure, SettingsError)):
        write_dataset([sample(mask=mask, labels=labels)], tmp_path, name)


def test_splits_and_lists_come_back(tmp_path: Path) -> None:
    samples = [sample(key=f"{number}.jpg") for number in range(4)]
    for name in ("voc", "yolo", "camvid", "ultralytics_semantic", "huggingface", "ade20k"):
        first, second = "val", "test"
        write_dataset(
            samples, tmp_path / name, name, pictures=True,
            split_of=lambda key, one=first, two=second: one if key < "2" else two,
        )  # fmt: skip
        reader = DATASET_FORMATS[name].load_reader()
        index = reader.index(open_tree(str(tmp_path / name)), ReadOptions(labels=LABELS))
        found = {item.key.split(".")[0]: item.split for item in index.items}
        assert found == {"0": first, "1": first, "2": second, "3": second}, name


def test_camvid_of_segnet_is_read_as_it_is_published(tmp_path: Path) -> None:
    """Grey indices without any list: eleven classes by its names and values, 11 is ignore."""
    masks = {"train": "0001TP_006690", "val": "0016E5_07959", "test": "Seq05VD_f00000"}
    stored = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for split, frame in masks.items():
        for folder in (tmp_path / f"{split}annot", tmp_path / split):
            folder.mkdir()
            Image.fromarray(stored).save(folder / f"{frame}.png")
    tree = open_tree(str(tmp_path))
    found = recognise(tree)
    assert found is not None and found.format == "camvid"
    index = DATASET_FORMATS["camvid"].load_reader().index(tree, ReadOptions())
    assert {item.key: item.split for item in index.items} == {
        f"{frame}.png": split for split, frame in masks.items()
    }
    assert "11 is ignore" in index.notes[0] and index.labels == builtin("camvid11")
    for one in read_dataset(tmp_path, "camvid"):
        assert one.labels == builtin("camvid11") and one.image
        np.testing.assert_array_equal(one.mask, np.where(stored == 11, 255, stored))
    (tmp_path / "classes.txt").write_text("\n".join("abcdefghijkl"))  # a list comes first
    assert {one.labels.names for one in read_dataset(tmp_path, "camvid")} == {tuple("abcdefghijkl")}


@pytest.mark.parametrize(("name", "value"), [("0001TP_006690", 12), ("frame_1", 11)])
def test_other_grey_masks_beside_pictures_are_not_segnets(
    tmp_path: Path, name: str, value: int
) -> None:
    for folder in ("trainannot", "train"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((2, 2), value, np.uint8)).save(tmp_path / folder / f"{name}.png")
    with pytest.raises(SettingsError, match="--labels"):
        read_dataset(tmp_path, "camvid")
