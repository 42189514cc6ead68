"""Documents in packages, splits, pixel maps: what finishers make of many samples."""

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from maskmill.pipeline.datasets.documents.cvat_validator import validate
from maskmill.pipeline.datasets.item_spool import ItemSpool
from maskmill.pipeline.datasets.package_limits import PackageLimits
from maskmill.pipeline.datasets.proof import compare
from maskmill.pipeline.datasets.registry import DATASET_FORMATS
from maskmill.pipeline.datasets.samples import Sample, SampleItem
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.pipeline.pictures.names import stem_of
from maskmill.schemas.errors import ErrorCode, MaskFailure
from maskmill.schemas.labels import LabelMap
from tests.pipeline.datasets.dataset_runs import read_dataset, write_dataset

LABELS = LabelMap.from_names("packages", ["background", "cat", "dog"])
PACKAGED = [name for name, entry in DATASET_FORMATS.items() if entry.package_suffix]


def samples(count: int = 7) -> list[Sample]:
    generator = np.random.default_rng(1)
    return [
        Sample(
            key=f"{number}.jpg",
            mask=generator.integers(0, 3, (20, 30)).astype(np.uint8),
            labels=LABELS,
            image=f"{number}.jpg",
        )
        for number in range(count)
    ]


def packages_in(folder: Path, name: str) -> list[Path]:
    suffix = DATASET_FORMATS[name].package_suffix
    return sorted(path for path in folder.glob(f"*{suffix}") if path.is_file())


@pytest.mark.parametrize("name", PACKAGED)
def test_packages_hold_every_sample_once(tmp_path: Path, name: str) -> None:
    written = samples()
    write_dataset(written, tmp_path, name, limits=PackageLimits(images=3))
    paths = packages_in(tmp_path, name)
    assert [re.sub(r".*-(\d+)-of-(\d+)\..*", r"\1/\2", path.name) for path in paths] == [
        "00000/00003", "00001/00003", "00002/00003",
    ]  # fmt: skip
    trees = paths if name == "cvat_mask" else [tmp_path]
    found = [sample for tree in trees for sample in read_dataset(tree, name)]
    assert sorted(stem_of(one.key) for one in found) == [stem_of(one.key) for one in written]
    by_stem = {stem_of(one.key): one for one in found}
    assert all(compare(one, by_stem[stem_of(one.key)]).is_lossless for one in written)


@pytest.mark.parametrize("name", PACKAGED)
def test_packages_stay_below_their_size(tmp_path: Path, name: str) -> None:
    write_dataset(samples(), tmp_path / "one", name)
    (whole,) = packages_in(tmp_path / "one", name)
    limit = whole.stat().st_size // 2
    write_dataset(samples(), tmp_path / "many", name, limits=PackageLimits(bytes=limit))
    sizes = [path.stat().st_size for path in packages_in(tmp_path / "many", name)]
    assert 2 <= len(sizes) <= 4
    head = 500  # of each document: labels, lists, the central directory
    assert all(size <= limit + head for size in sizes)


def test_each_cvat_package_is_sound_alone(tmp_path: Path) -> None:
    write_dataset(samples(), tmp_path, "cvat_mask", limits=PackageLimits(images=2))
    for path in packages_in(tmp_path, "cvat_mask"):
        assert list(validate(open_tree(str(path)))) == []
        with zipfile.ZipFile(path) as archive:
            stems = archive.read("ImageSets/Segmentation/default.txt").decode().split()
            inside = [name for name in archive.namelist() if name.startswith("SegmentationClass")]
        assert inside == [f"SegmentationClass/{stem}.png" for stem in stems]


def test_samples_without_a_split_join_the_default_one(tmp_path: Path) -> None:
    """One file per split, even where some samples name the default and others name none."""
    written = samples(4)

    def split_of(key: str) -> str:
        return "train" if key < "2" else ""

    write_dataset(written, tmp_path / "hf", "huggingface", pictures=True, split_of=split_of)
    assert len((tmp_path / "hf/train/metadata.jsonl").read_text().splitlines()) == 4
    write_dataset(written, tmp_path / "yolo", "yolo", pictures=True, split_of=split_of)
    assert len((tmp_path / "yolo/train.txt").read_text().splitlines()) == 4
    document = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text())
    assert document["train"] == "images/train"
    assert document["val"] == []  # and not the training pictures again
    assert "path" not in document


def test_the_config_of_polygons_asks_for_polygons_whatever_the_last_sample_is(
    tmp_path: Path,
) -> None:
    empty = Sample(key="z.jpg", mask=np.zeros((4, 4), np.uint8), labels=LABELS)
    write_dataset([*samples(1), empty], tmp_path, "label_studio_polygons")
    assert "<PolygonLabels " in (tmp_path / "labeling_config.xml").read_text()


def test_pixel_maps_are_read_by_the_categories_beside_them(tmp_path: Path) -> None:
    labels = LabelMap.from_dict(
        {
            "name": "stuff",
            "classes": [
                {"name": "background", "is_background": True},
                {"name": "banner", "category_id": 92},
                {"name": "other", "category_id": 183},
            ],
        }
    )
    mask = np.array([[0, 1, 1], [2, 2, 0]], np.uint8)
    sample = Sample(key="sub/a b.jpg", mask=mask, labels=labels, image="sub/a b.jpg")
    write_dataset([sample], tmp_path, "coco_stuff")
    (found,) = read_dataset(tmp_path, "coco_pixelmaps")
    assert found.key == "sub/a b"
    assert compare(sample, found).is_lossless
    (tmp_path / "annotations/stuff_default.json").unlink()
    (found,) = read_dataset(tmp_path, "coco_pixelmaps", labels)
    assert compare(sample, found).is_lossless
    foreign = LabelMap.from_names("foreign", ["background", "banner"])
    with pytest.raises(MaskFailure, match=r"values \[92, 183\]") as caught:
        read_dataset(tmp_path, "coco_pixelmaps", foreign)
    assert caught.value.code is ErrorCode.UNKNOWN_VALUE


def test_items_on_disk_are_what_was_put_there() -> None:
    items = [
        SampleItem(key=f"ü/{number}", split="val" if number % 2 else "", payload=[number, None])
        for number in range(50)
    ]
    spool = ItemSpool(iter(items))
    assert len(spool) == 50
    assert list(spool) == list(spool) == items
    assert [spool[place] for place in (49, 0, 7)] == [items[49], items[0], items[7]]
    assert not ItemSpool()
    (names,) = spool.names()
    assert names.to_pylist() == [{"key": one.key, "split": one.split} for one in items]
