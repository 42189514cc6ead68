"""A manifest in parts: read as a whole, block by block, and after a kill between two parts."""

from pathlib import Path

import pyarrow as pa
import pytest

from maskmill.pipeline.runs import manifest as manifests
from maskmill.pipeline.runs.differences import compare_inputs
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import (
    ManifestSpool,
    StoredManifest,
    block_rows,
    manifest_block,
    num_inputs,
    put_manifest,
    read_manifest,
)
from maskmill.pipeline.runs.numbering import (
    BlockLimits,
    build_manifest,
    extend_manifest,
)
from maskmill.pipeline.sources.entries import SourceEntry
from maskmill.pipeline.sources.registry import Listing, sorted_entries
from maskmill.schemas.errors import RunFailed

ONE = BlockLimits(images=1)
PART_BLOCKS = 8
OLD, NEW = PART_BLOCKS + 3, PART_BLOCKS + 7


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand blocks take seconds."""
    monkeypatch.setattr(manifests, "PART_BLOCKS", PART_BLOCKS)


class Killed(Exception):
    """Instead of the process."""


class Dying(RunLayout):
    """A run folder whose writer ends after some files."""

    writes = 0

    def write_stream(self, relative, stream):
        if Dying.writes == 0:
            raise Killed
        Dying.writes -= 1
        super().write_stream(relative, stream)


def listing_of(count: int, root: str = "/data") -> Listing:
    """Every further image comes between those that were there."""
    keys = [f"{number * 7 % 13}/{number:06}.jpg" for number in range(count)]
    rows = sorted_entries(SourceEntry(key, f"{root}/{key}", 1000) for key in keys)
    return Listing(root, "folder", root, rows, {}, ())


def old_form(layout: RunLayout, manifest: ManifestSpool) -> None:
    """As versions before wrote it: one file, however many blocks."""
    put_manifest(layout, pa.concat_tables(manifest.tables()))


def test_parts_are_read_as_one(tmp_path: Path):
    layout = RunLayout(str(tmp_path))
    manifest, _ = build_manifest(listing_of(NEW), ONE)
    manifest.put(layout)
    assert len(list((tmp_path / "manifest").iterdir())) == 2
    whole = read_manifest(layout)
    assert whole["image_id"].to_pylist() == list(range(1, NEW + 1))
    assert whole["block"].to_pylist() == list(range(NEW))
    assert whole["key"].to_pylist() == sorted(whole["key"].to_pylist())
    assert num_inputs(layout) == NEW
    for block in (0, PART_BLOCKS - 1, PART_BLOCKS, NEW - 1):
        (row,) = manifest_block(layout, block)
        assert row == whole.slice(block, 1).to_pylist()[0]
        assert block_rows(layout, {"block": block, "ids": [block + 2]}, "image_id") == []


def test_a_full_last_part_hides_what_an_earlier_attempt_left(tmp_path: Path):
    layout = RunLayout(str(tmp_path))
    build_manifest(listing_of(NEW), ONE)[0].put(layout)
    shorter, _ = build_manifest(listing_of(PART_BLOCKS), ONE)
    shorter.put(layout)
    assert StoredManifest(layout).sha256 == shorter.sha256


def test_the_one_file_of_an_earlier_version_is_gone_on_with(tmp_path: Path):
    layout = RunLayout(str(tmp_path))
    began, _ = build_manifest(listing_of(OLD), ONE)
    old_form(layout, began)
    stored = StoredManifest(layout)
    assert (stored.sha256, stored.sizes) == (began.sha256, began.sizes)
    assert compare_inputs(stored, listing_of(OLD)).same_images
    (row,) = manifest_block(layout, OLD - 1)
    assert row["image_id"] == OLD


@pytest.mark.parametrize("old_version", [False, True])
@pytest.mark.parametrize("old_count", [3, PART_BLOCKS, OLD])
def test_an_extension_killed_between_parts_ends_as_if_it_had_not_been(
    tmp_path: Path, old_version: bool, old_count: int
):
    began, _ = build_manifest(listing_of(old_count), ONE)
    wanted, _ = extend_manifest(began, listing_of(NEW), ONE)
    for writes in range(3):
        layout = RunLayout(str(tmp_path / str(writes)))
        old_form(layout, began) if old_version else began.put(layout)
        Dying.writes = writes
        if writes < 2:
            with pytest.raises(Killed):
                wanted.put(Dying(layout.root))
        else:
            wanted.put(Dying(layout.root))
        for block in (0, old_count - 1):  # what is committed is still what it was
            assert manifest_block(layout, block)[0]["image_id"] == block + 1
        again, _ = extend_manifest(StoredManifest(layout), listing_of(NEW), ONE)
        assert again.sha256 == wanted.sha256 and again.sizes == wanted.sizes
        again.put(layout)
        assert StoredManifest(layout).sha256 == wanted.sha256


def test_a_moved_source_changes_the_place_and_nothing_else():
    began, _ = build_manifest(listing_of(9), ONE)
    found = compare_inputs(began, listing_of(9, root="s3://there"))
    assert found.same_images and found.moved == 9
    moved, _ = extend_manifest(began, listing_of(9, root="s3://there"), ONE)
    assert moved.sha256 == began.sha256
    assert all(table["uri"][0].as_py().startswith("s3://there/") for table in moved.tables())


def test_a_torn_part_is_named(tmp_path: Path):
    layout = RunLayout(str(tmp_path))
    build_manifest(listing_of(NEW), ONE)[0].put(layout)
    part = tmp_path / "manifest" / f"manifest-{PART_BLOCKS:07d}.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(RunFailed, match=part.name):
        StoredManifest(layout)
