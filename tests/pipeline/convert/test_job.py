"""A conversion by the local engine: rows, documents, the check and what it finds."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.run import Outcome, run
from maskmill.pipeline.convert.check_proof import Proof
from maskmill.pipeline.convert.conversion import ConversionRequest, plan_conversion
from maskmill.pipeline.convert.job import Converted, ConvertJob
from maskmill.pipeline.convert.manifest import manifest_file
from maskmill.pipeline.datasets.registry import DATASET_FORMATS
from maskmill.pipeline.datasets.samples import SampleItem
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap, builtin

LABELS = LabelMap.from_names("op", ["background", "cat", "big dog"])
KEYS = ["a", "sub/b.1", "sub/b.2", "ü x"]


def write_source(folder: Path, *, ignore: bool = False) -> dict[str, np.ndarray]:
    """VOC masks with pictures; arrays by key without extension."""
    generator = np.random.default_rng(0)
    masks = {}
    (folder / "SegmentationClass/sub").mkdir(parents=True)
    (folder / "JPEGImages/sub").mkdir(parents=True)
    (folder / "labelmap.txt").write_text("background:0,0,0::\ncat:128,0,0::\nbig dog:0,128,0::\n")
    for number, key in enumerate(KEYS):
        mask = generator.integers(0, 3, (9, 7 + number)).astype(np.uint8)
        if ignore:
            mask[0] = 255
        masks[key] = mask
        image = Image.fromarray(mask, "P")
        image.putpalette(LABELS.palette)
        image.save(folder / f"SegmentationClass/{key}.png")
        picture = Image.new("RGB", (mask.shape[1], mask.shape[0]))
        picture.save(folder / f"JPEGImages/{key}.jpg")
    return masks


def request_for(source: Path, to_format: str, **fields: object) -> ConversionRequest:
    values = {
        "source": str(source), "from_format": "voc", "to_format": to_format, "max_loss": 0.0,
        "with_images": True, **fields,
    }  # fmt: skip
    return ConversionRequest(**values)


def job_of(request: ConversionRequest, out: Path, **fields: object) -> ConvertJob:
    return ConvertJob(request=request, out=str(out), block_samples=3, **fields)


def convert(request: ConversionRequest, out: Path) -> tuple[ConvertJob, Outcome[Converted]]:
    job = job_of(request, out)
    return job, run(job, RunOptions(engine="local"))


def proof(job: ConvertJob) -> Proof:
    """What --check finds of a finished conversion."""
    outcome = run(replace(job, check=True), RunOptions(engine="local"))
    assert outcome.done_now == 0
    return outcome.result.proof


def rows_of(out: Path) -> list[dict]:
    tables = RunLayout(str(out)).committed_rows()
    return [row for table in tables for row in table.to_pylist()]


CHECKABLE = [
    name for name, entry in DATASET_FORMATS.items()
    if entry.can_read and entry.can_write and entry.max_classes > 2
]  # fmt: skip


@pytest.mark.parametrize("name", CHECKABLE)
def test_check_proves_every_format(tmp_path: Path, name: str) -> None:
    write_source(tmp_path / "in")
    job, outcome = convert(request_for(tmp_path / "in", name), tmp_path / "out")
    assert (outcome.ledger.ok, outcome.done_now, outcome.examples) == (4, 4, [])
    found = proof(job)
    assert found.samples == 4
    assert found.is_lossless, found.lines()
    assert found.is_kept
    assert found.problems == []


@pytest.mark.parametrize("name", [name for name in CHECKABLE if name != "masks_per_class"])
def test_check_counts_ignore_that_a_target_cannot_hold(tmp_path: Path, name: str) -> None:
    masks = write_source(tmp_path / "in", ignore=True)
    job, _ = convert(request_for(tmp_path / "in", name), tmp_path / "out")
    found = proof(job)
    ignored = sum(int((mask == 255).sum()) for mask in masks.values())
    assert found.ignore_lost == (0 if DATASET_FORMATS[name].holds_ignore else ignored)
    assert found.differing == 0
    assert found.is_kept


def test_check_finds_what_was_changed_behind_its_back(tmp_path: Path) -> None:
    write_source(tmp_path / "in")
    job, _ = convert(request_for(tmp_path / "in", "indexed"), tmp_path / "out")
    path = tmp_path / "out/dataset/masks/sub/b.1.png"
    array = np.array(Image.open(path))
    array[2, 3] = (array[2, 3] + 1) % 3
    Image.fromarray(array).save(path)
    found = proof(job)
    assert (found.differing, found.is_lossless, found.is_kept) == (1, False, False)
    assert "sub/b.1" in found.worst[0]
    assert "y=2 x=3" in found.worst[0]
    path.unlink()
    assert proof(job).unreadable == 1


def test_rows_say_what_was_written(tmp_path: Path) -> None:
    masks = write_source(tmp_path / "in", ignore=True)
    convert(request_for(tmp_path / "in", "coco_polygons"), tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert [row["key"] for row in rows] == ["a.jpg", "sub/b.1.jpg", "sub/b.2.jpg", "ü x.jpg"]
    for row in rows:
        mask = masks[row["key"].removesuffix(".jpg")]
        assert (row["height"], row["width"]) == mask.shape
        assert row["ignore_pixels"] == (mask == 255).sum()
        assert row["classes"] == sorted(set(np.unique(mask).tolist()) - {255})
        assert row["segment_ious"] == [1.0, 1.0]
        for path, digest in zip(row["files"], row["files_sha256"], strict=True):
            data = (tmp_path / "out" / path).read_bytes()
            assert hashlib.sha256(data).hexdigest() == digest


def test_doing_a_block_again_changes_nothing(tmp_path: Path) -> None:
    write_source(tmp_path / "in")
    job, _ = convert(request_for(tmp_path / "in", "label_studio"), tmp_path / "out")
    before = (tmp_path / "out/dataset/tasks.json").read_bytes()
    job.layout.delete(job.layout.block_path(1))
    again = run(job, RunOptions(engine="local"))
    assert again.done_now == 1
    assert (tmp_path / "out/dataset/tasks.json").read_bytes() == before


def test_sources_that_collide_or_escape(tmp_path: Path) -> None:
    def coco(*names: str) -> Path:
        images = [
            {"id": number, "file_name": name, "width": 2, "height": 2}
            for number, name in enumerate(names)
        ]
        document = {"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": []}
        path = tmp_path / f"{len(names)}{names[0].replace('/', '_')}.json"
        path.write_text(json.dumps(document))
        return path

    for names, told in ((("../a.jpg",), "leaves its folder"), (("a.jpg", "a.jpg"), "two samples"),
                        (("/etc/a.jpg",), "leaves its folder")):  # fmt: skip
        with pytest.raises(SettingsError, match=told), manifest_file(map(item_of, names)):
            pass
        # documents of others: the entry is refused when it is read, under a key that can be
        request = replace(request_for(coco(*names), "voc"), from_format="coco")
        assert len(outputs_of(request)) == len(names)
    request = replace(request_for(coco("a.jpg", "a.png", "b.jpg"), "voc"), from_format="coco")
    assert outputs_of(request) == ["a.jpg", "a.png", "b"]


def item_of(key: str) -> SampleItem:
    return SampleItem(key=key)


def outputs_of(request: ConversionRequest) -> list[str]:
    return pq.read_table(manifest_file(plan_conversion(request)[1]).stream)["output"].to_pylist()


def test_more_classes_than_the_target_holds(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "masks/a.png")
    labels = builtin("ade20k")
    request = ConversionRequest(
        source=str(tmp_path), from_format="masks", to_format="binary", labels=labels
    )
    with pytest.raises(SettingsError, match="holds 2 classes, the masks have 151"):
        plan_conversion(request)


def test_a_target_that_is_written_only_cannot_be_checked(tmp_path: Path) -> None:
    write_source(tmp_path / "in")
    for name, told in (("coco_results", "written only"), ("yolo", "--with-images")):
        request = request_for(tmp_path / "in", name, with_images=False)
        with pytest.raises(SettingsError, match=told):
            run(job_of(request, tmp_path / "out", check=True), RunOptions(engine="local"))
        assert not (tmp_path / "out/dataset").exists()


@pytest.mark.parametrize("name", ["labelme", "cvat_images", "coco", "label_studio", "supervisely"])
def test_labels_beside_a_source_with_names_are_the_targets_vocabulary(
    tmp_path: Path, name: str
) -> None:
    """Own names go through the rules first, then meet the target's by name."""
    write_source(tmp_path / "in")
    convert(request_for(tmp_path / "in", name), tmp_path / "first")
    target = LabelMap.from_names("target", ["background", "tree", "animal", "cat"])
    request = ConversionRequest(
        source=str(tmp_path / "first/dataset"), from_format=name, to_format="indexed",
        labels=target, rules={"big dog": "animal", "*": "@keep"},
    )  # fmt: skip
    job, _ = convert(request, tmp_path / "second")
    assert job.plan(None).conversion.mapping.target == target
    written = np.asarray(Image.open(tmp_path / "second/dataset/masks/a.png"))
    source = np.asarray(Image.open(tmp_path / "in/SegmentationClass/a.png"))
    assert np.array_equal(written, np.array([0, 3, 2])[source])
