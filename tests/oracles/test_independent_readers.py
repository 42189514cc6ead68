"""What we write, read by programs that others wrote: the same pixels under the same names."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from maskmill.pipeline.datasets.samples import Sample
from maskmill.pipeline.pictures.names import stem_of
from maskmill.schemas.labels import LabelMap, builtin
from tests.pipeline.datasets.dataset_runs import write_dataset

Oracle = Callable[[str, Path], dict[str, np.ndarray]]

pytestmark = pytest.mark.thorough

LABELS = LabelMap.from_names("oracle", ["background", "cat", "grüner_Hund", "z.b"])
KEYS = ["a.png", "b.c.png", "sub folder/ü.png"]


def shapes(size: int) -> np.ndarray:
    """A ring with an island, a second part, single pixels."""
    mask = np.zeros((size, size + 5), np.uint8)
    mask[1:8, 1:8] = 1
    mask[3:6, 3:6] = 0
    mask[4, 4] = 2
    mask[1:4, 10:12] = 1
    mask[-1, -1] = mask[0, -1] = 3
    return mask


def samples(keys: list[str] = KEYS, labels: LabelMap = LABELS) -> list[Sample]:
    return [
        Sample(key=key, mask=shapes(12 + place), labels=labels, image=key)
        for place, key in enumerate(keys)
    ]


def expected(
    written: list[Sample], key_of: Callable[[str], str] = stem_of
) -> dict[str, np.ndarray]:
    """Bool masks by "key|class", as readers.py gives them."""
    return {
        f"{key_of(sample.key)}|{sample.labels.names[index]}": sample.mask == index
        for sample in written
        for index in np.unique(sample.mask).tolist()
        if index != sample.labels.background_index
    }


def assert_equal(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert sorted(found) == sorted(wanted)
    for key, mask in wanted.items():
        assert np.array_equal(found[key], mask), key


def without_background(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """datumaro also gives the background as a mask where a class mask has one."""
    return {key: mask for key, mask in found.items() if not key.endswith("|background")}


def test_datumaro_reads_our_coco(tmp_path: Path, oracle: Oracle) -> None:
    written = samples()
    write_dataset(written, tmp_path, "coco", pictures=True)
    assert_equal(oracle("datumaro:coco_instances", tmp_path), expected(written))


def test_datumaro_reads_our_coco_with_plain_runs(tmp_path: Path, oracle: Oracle) -> None:
    written = samples()
    write_dataset(written, tmp_path, "coco_uncompressed", pictures=True)
    assert_equal(oracle("datumaro:coco_instances", tmp_path), expected(written))


def test_datumaro_reads_our_panoptic(tmp_path: Path, oracle: Oracle) -> None:
    written = samples()
    write_dataset(written, tmp_path, "panoptic", pictures=True)
    found = without_background(oracle("datumaro:coco_panoptic", tmp_path))
    assert_equal(found, expected(written))


def test_datumaro_reads_our_voc(tmp_path: Path, oracle: Oracle) -> None:
    written = samples()
    write_dataset(written, tmp_path, "voc", pictures=True)
    found = without_background(oracle("datumaro:voc_segmentation", tmp_path))
    assert_equal(found, expected(written))


def test_datumaro_reads_our_camvid(tmp_path: Path, oracle: Oracle) -> None:
    written = samples()
    write_dataset(written, tmp_path, "camvid", pictures=True)
    found = without_background(oracle("datumaro:camvid", tmp_path))
    assert_equal(found, expected(written))


def test_datumaro_reads_our_cvat_xml(tmp_path: Path, oracle: Oracle) -> None:
    written = samples()
    write_dataset(written, tmp_path, "cvat_images", pictures=True)
    assert_equal(oracle("datumaro:cvat", tmp_path), expected(written))


def test_a_cvat_mask_zip_is_a_voc_dataset_without_a_background_object(
    tmp_path: Path, oracle: Oracle
) -> None:
    """The recipe: object masks rule, so that no shape is made of background."""
    written = samples()
    write_dataset(written, tmp_path / "out", "cvat_mask")
    with zipfile.ZipFile(tmp_path / "out/segmentation_mask.zip") as archive:
        archive.extractall(tmp_path / "voc")
    found = oracle("datumaro:voc_segmentation", tmp_path / "voc")
    assert_equal(found, expected(written))


def test_label_studio_decodes_our_brush(tmp_path: Path, oracle: Oracle) -> None:
    from urllib.parse import quote

    written = samples()
    write_dataset(written, tmp_path, "label_studio")
    assert_equal(oracle("label_studio", tmp_path), expected(written, key_of=quote))


def test_labelme_loads_our_files(tmp_path: Path, oracle: Oracle) -> None:
    written = samples()
    write_dataset(written, tmp_path, "labelme", pictures=True)
    assert_equal(oracle("labelme", tmp_path), expected(written))


@pytest.mark.parametrize(
    ("name", "reader"), [("huggingface", "imagefolder"), ("huggingface_parquet", "parquet")]
)
def test_hugging_face_loads_our_datasets(
    tmp_path: Path, oracle: Oracle, name: str, reader: str
) -> None:
    written = samples()
    write_dataset(written, tmp_path, name, pictures=True)
    assert_equal(oracle(reader, tmp_path), {sample.key: sample.mask for sample in written})


def test_tfrecords_hold_what_tf_deeplab_reads(tmp_path: Path, oracle: Oracle) -> None:
    written = samples()
    write_dataset(written, tmp_path, "tfrecord", pictures=True)
    assert_equal(oracle("tfrecord", tmp_path), {stem_of(one.key): one.mask for one in written})


def test_ultralytics_reads_our_yolo_labels(tmp_path: Path, oracle: Oracle) -> None:
    """Its own parser and checks, from another working folder than the dataset's."""
    written = samples()
    write_dataset(written, tmp_path, "yolo", pictures=True)
    assert_equal(oracle("ultralytics", tmp_path), expected(written))


def test_ultralytics_reads_our_semantic_masks(tmp_path: Path, oracle: Oracle) -> None:
    written = samples()
    for sample in written:
        sample.mask[2] = 255
    write_dataset(written, tmp_path, "ultralytics_semantic", pictures=True)
    wanted = {stem_of(sample.key): sample.mask for sample in written}
    assert_equal(oracle("ultralytics_semantic", tmp_path), wanted)


def test_panoptic_files_follow_the_rules_of_panopticapi(tmp_path: Path, oracle: Oracle) -> None:
    written = samples()
    for sample in written:
        sample.mask[2] = 255  # void
    write_dataset(written, tmp_path, "panoptic", pictures=True)
    wanted = {
        f"{sample.key}|{sample.labels.names[index]}": sample.mask == index
        for sample in written
        for index in np.unique(sample.mask).tolist()
        if index != 255
    }
    assert_equal(oracle("panoptic_rules", tmp_path), wanted)


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("coco", "instances_default"), ("coco_uncompressed", "instances_default"),
        ("coco_polygons", "instances_default"), ("coco_stuff", "stuff_default"),
    ],
)  # fmt: skip
def test_pycocotools_reads_our_documents(tmp_path: Path, name: str, document: str) -> None:
    written = samples()
    write_dataset(written, tmp_path, name)
    coco = COCO(str(tmp_path / f"annotations/{document}.json"))
    names = {entry["id"]: entry["name"] for entry in coco.loadCats(coco.getCatIds())}
    found: dict[str, np.ndarray] = {}
    for annotation in coco.loadAnns(coco.getAnnIds()):
        (image,) = coco.loadImgs(annotation["image_id"])
        key = f"{stem_of(image['file_name'])}|{names[annotation['category_id']]}"
        mask = coco.annToMask(annotation).astype(bool)
        assert annotation["area"] == mask.sum()
        found[key] = found.get(key, np.zeros_like(mask)) | mask
    assert_equal(found, expected(written))


def test_datumaro_reads_our_cityscapes(tmp_path: Path, oracle: Oracle) -> None:
    """From labelTrainIds, but road: Datumaro takes the class of index 0 for nothing."""
    labels = builtin("cityscapes")
    mask = (np.arange(20 * 30) % 20).reshape(20, 30).astype(np.uint8)
    mask[mask == 19] = 255
    sample = Sample(key="aachen/aachen_000000_000019.png", mask=mask, labels=labels, image="x")
    write_dataset([sample], tmp_path, "cityscapes", pictures=True)
    wanted = {
        f"aachen/aachen_000000_000019|{labels.names[index].replace(' ', '')}": mask == index
        for index in range(1, 19)
    }
    assert_equal(oracle("datumaro:cityscapes", tmp_path), wanted)


def test_datumaro_reads_our_cityscapes_of_other_classes(tmp_path: Path, oracle: Oracle) -> None:
    """From instanceIds and label_colors.txt, which names the classes."""
    keys = ["a/one.png", "a/b.c.png"]
    written = samples(keys)
    write_dataset(written, tmp_path, "cityscapes", pictures=True)
    assert_equal(oracle("datumaro:cityscapes", tmp_path), expected(written))


def test_cityscapes_scripts_agree_about_ids(tmp_path: Path, oracle: Oracle) -> None:
    labels = builtin("cityscapes")
    mask = (np.arange(20 * 30) % 20).reshape(20, 30).astype(np.uint8)
    mask[mask == 19] = 255
    sample = Sample(key="aachen/aachen_000000_000019.png", mask=mask, labels=labels)
    write_dataset([sample], tmp_path, "cityscapes")
    found = oracle("cityscapesscripts", tmp_path)
    assert_equal(found, {"aachen_000000_000019": mask})


def test_labelme_refuses_turned_sizes_which_is_why_ours_are_as_shown(
    tmp_path: Path, oracle: Oracle
) -> None:
    """A picture with EXIF orientation 6: the mask, and so the JSON, has the size as shown."""
    written = [Sample(key="turned.jpg", mask=shapes(12), labels=LABELS, image="turned.jpg")]
    write_dataset(written, tmp_path, "labelme")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (12, 17)).save(tmp_path / "turned.jpg", exif=exif)
    assert_equal(oracle("labelme", tmp_path), expected(written))
