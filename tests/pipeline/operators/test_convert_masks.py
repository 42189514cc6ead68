"""The operators of a conversion without the engine: blocks that commit, finish, check, verify."""

import contextlib
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from maskmill.pipeline.convert import operator as convert_masks
from maskmill.pipeline.convert.check_proof import Proof, plan_check, proof_of
from maskmill.pipeline.convert.conversion import (
    ConversionPlan,
    ConversionRequest,
    plan_conversion,
)
from maskmill.pipeline.convert.finish import finish_conversion
from maskmill.pipeline.convert.manifest import manifest_file, pending_blocks
from maskmill.pipeline.convert.operator import ConvertMasks, mapped_sample
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


def convert(request: ConversionRequest, out: Path) -> tuple[ConversionPlan, RunLayout, pa.Table]:
    layout = RunLayout(str(out))
    plan, items = plan_conversion(request)
    with manifest_file(items, block_samples=3) as manifest:
        manifest.put(layout)
    operator = ConvertMasks(
        layout=layout, session="s", plan=plan, fingerprint="f", tool_version="t"
    )
    tally = operator(pending_blocks(layout, retry_failed=False))
    assert pending_blocks(layout, retry_failed=False).num_rows == 0
    finish_conversion(layout, plan)
    return plan, layout, tally


def proof(plan: ConversionPlan, layout: RunLayout) -> Proof:
    operator = plan_check(plan, layout).operator(layout)
    operator(layout.read_table(operator.work))
    return proof_of(layout, plan)


CHECKABLE = [
    name for name, entry in DATASET_FORMATS.items()
    if entry.can_read and entry.can_write and entry.max_classes > 2
]  # fmt: skip


@pytest.mark.parametrize("name", CHECKABLE)
def test_check_proves_every_format(tmp_path: Path, name: str) -> None:
    write_source(tmp_path / "in")
    plan, layout, tally = convert(request_for(tmp_path / "in", name), tmp_path / "out")
    assert tally["error_message"].to_pylist() == [None] * 4
    found = proof(plan, layout)
    assert found.samples == 4
    assert found.is_lossless, found.lines()
    assert found.is_kept
    assert found.problems == []


@pytest.mark.parametrize("name", [name for name in CHECKABLE if name != "masks_per_class"])
def test_check_counts_ignore_that_a_target_cannot_hold(tmp_path: Path, name: str) -> None:
    masks = write_source(tmp_path / "in", ignore=True)
    plan, layout, _ = convert(request_for(tmp_path / "in", name), tmp_path / "out")
    found = proof(plan, layout)
    ignored = sum(int((mask == 255).sum()) for mask in masks.values())
    assert found.ignore_lost == (0 if DATASET_FORMATS[name].holds_ignore else ignored)
    assert found.differing == 0
    assert found.is_kept


def test_check_finds_what_was_changed_behind_its_back(tmp_path: Path) -> None:
    write_source(tmp_path / "in")
    plan, layout, _ = convert(request_for(tmp_path / "in", "indexed"), tmp_path / "out")
    path = tmp_path / "out/dataset/masks/sub/b.1.png"
    array = np.array(Image.open(path))
    array[2, 3] = (array[2, 3] + 1) % 3
    Image.fromarray(array).save(path)
    found = proof(plan, layout)
    assert (found.differing, found.is_lossless, found.is_kept) == (1, False, False)
    assert "sub/b.1" in found.worst[0]
    assert "y=2 x=3" in found.worst[0]
    path.unlink()
    assert proof(plan, layout).unreadable == 1


def test_rows_say_what_was_written(tmp_path: Path) -> None:
    masks = write_source(tmp_path / "in", ignore=True)
    _, layout, _ = convert(request_for(tmp_path / "in", "coco_polygons"), tmp_path / "out")
    columns = ["key", "files", "files_sha256", "ignore_pixels", "classes", "segment_ious"]
    tables = layout.committed_rows([*columns, "width", "height"])
    rows = [row for table in tables for row in table.to_pylist()]
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
    plan, layout, _ = convert(request_for(tmp_path / "in", "label_studio"), tmp_path / "out")
    before = (tmp_path / "out/dataset/tasks.json").read_bytes()
    for block in layout.committed_blocks():
        layout.delete(layout.block_path(block))
    operator = ConvertMasks(
        layout=layout, session="again", plan=plan, fingerprint="f", tool_version="t"
    )
    operator(pending_blocks(layout, retry_failed=False))
    finish_conversion(layout, plan)
    assert (tmp_path / "out/dataset/tasks.json").read_bytes() == before


class Death(BaseException):
    """What a killed worker looks like from inside: nothing after it runs."""


def test_a_sample_that_kills_its_worker_becomes_a_failed_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray starts the block again after each death; the third time it goes sample by sample."""
    write_source(tmp_path / "in")
    layout = RunLayout(str(tmp_path / "out"))
    plan, items = plan_conversion(request_for(tmp_path / "in", "coco"))
    with manifest_file(items, block_samples=3) as manifest:
        manifest.put(layout)

    def deadly(plan: ConversionPlan, entry: dict) -> object:
        if entry["key"] == "sub/b.1.jpg":
            raise Death
        return mapped_sample(plan, entry)

    monkeypatch.setattr(convert_masks, "mapped_sample", deadly)
    operator = ConvertMasks(
        layout=layout, session="s", plan=plan, fingerprint="f", tool_version="t"
    )
    work = pending_blocks(layout, retry_failed=False)
    starts = 0
    while layout.committed_blocks() != [0, 1]:
        starts += 1
        assert starts < 10
        with contextlib.suppress(Death):
            operator(work)
    rows = [row for table in layout.committed_rows() for row in table.to_pylist()]
    assert [row["error_code"] for row in rows] == [None, "worker_died", None, None]
    assert rows[1]["attempts"] == starts > 3


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
    with manifest_file(plan_conversion(request)[1]) as manifest:
        return pq.read_table(manifest.stream)["output"].to_pylist()


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
    plan, _ = plan_conversion(request_for(tmp_path / "in", "coco_results"))
    with pytest.raises(SettingsError, match="written only"):
        plan_check(plan, RunLayout(str(tmp_path / "out")))
    plan, _ = plan_conversion(request_for(tmp_path / "in", "yolo", with_images=False))
    with pytest.raises(SettingsError, match="--with-images"):
        plan_check(plan, RunLayout(str(tmp_path / "out")))


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
    plan, _, _ = convert(request, tmp_path / "second")
    assert plan.mapping.target == target
    written = np.asarray(Image.open(tmp_path / "second/dataset/masks/a.png"))
    source = np.asarray(Image.open(tmp_path / "in/SegmentationClass/a.png"))
    assert np.array_equal(written, np.array([0, 3, 2])[source])
