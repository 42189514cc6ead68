"""Ids, output names and blocks: stable, collision-free, and the same from the same listing."""

import time
import tracemalloc
from pathlib import PurePosixPath

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.runs import numbering
from maskmill.pipeline.runs.manifest import ManifestSpool, blocks_of
from maskmill.pipeline.runs.numbering import BlockLimits
from maskmill.pipeline.runs.output_names import CaseTwins, check_outputs, output_names
from maskmill.pipeline.sources.registry import ENTRIES, Listing
from maskmill.pipeline.storage.sorted_table import SortedTable
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.tables.prelabel import MANIFEST

NAMES = st.text(st.sampled_from("abAB.é _-1"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)
KEYS = st.lists(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join), min_size=1, max_size=30, unique=True
)


def listing_of(keys, sizes=None, root: str = "/data") -> Listing:
    sizes = [1000] * len(keys) if sizes is None else sizes
    columns = [list(keys), [f"{root}/{key}" for key in keys], list(sizes)]
    rows = SortedTable([pa.table(columns, schema=ENTRIES)], ENTRIES, by="key")
    return Listing(root, "folder", root, rows, {}, ())


def build_manifest(listing: Listing, **limits) -> pa.Table:
    spool, _ = numbering.build_manifest(listing, BlockLimits(**limits))
    return whole(spool)


def extend_manifest(old: pa.Table, listing: Listing, **limits) -> pa.Table:
    spool, _ = numbering.extend_manifest(spooled(old), listing, BlockLimits(**limits))
    return whole(spool)


def whole(spool: ManifestSpool) -> pa.Table:
    table = pa.concat_tables(spool.tables()).combine_chunks()
    assert (
        spool.sizes
        == table.group_by("block").aggregate([("key", "count")])["key_count"].to_pylist()
    )
    return table


def spooled(manifest: pa.Table) -> ManifestSpool:
    spool = ManifestSpool(MANIFEST)
    for block in blocks_of(manifest):
        spool.add(block)
    spool.close()
    return spool


def manifest_sha256(manifest: pa.Table) -> str:
    return spooled(manifest).sha256


def test_ids_follow_the_sorted_keys():
    manifest = build_manifest(listing_of(["b.jpg", "a/z.jpg", "a.jpg", "Z.jpg", "é.jpg"]))
    assert manifest.schema.equals(MANIFEST)
    assert manifest["key"].to_pylist() == ["Z.jpg", "a.jpg", "a/z.jpg", "b.jpg", "é.jpg"]
    assert manifest["image_id"].to_pylist() == [1, 2, 3, 4, 5]
    assert manifest["output"].to_pylist() == ["Z", "a", "a/z", "b", "é"]
    assert manifest["uri"].to_pylist()[2] == "/data/a/z.jpg"
    assert manifest["block"].to_pylist() == [0] * 5


# --- blocks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "images", "limit", "blocks"),
    [
        ([1] * 7, 3, 100, [0, 0, 0, 1, 1, 1, 2]),
        ([60, 50, 40, 60, 1], 9, 100, [0, 1, 1, 2, 2]),
        ([500, 1, 500, 500], 9, 100, [0, 1, 2, 3]),
        ([None, None, None], 2, 1, [0, 0, 1]),
        ([100, 100], 9, 200, [0, 0]),
        ([0, 0, 0], 1, 1, [0, 1, 2]),
    ],
)
def test_blocks_close_by_images_or_bytes(sizes, images, limit, blocks):
    listing = listing_of([f"{number}.jpg" for number in range(len(sizes))], sizes)
    manifest = build_manifest(listing, images=images, bytes=limit)
    assert manifest["block"].to_pylist() == blocks


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 300)), min_size=1, max_size=60),
    st.integers(1, 9),
    st.integers(1, 400),
)
@settings(deadline=None)
def test_blocks_are_runs_within_the_limits(sizes, images, limit):
    listing = listing_of([f"{number:03d}.jpg" for number in range(len(sizes))], sizes)
    manifest = build_manifest(listing, images=images, bytes=limit)
    blocks = manifest["block"].to_pylist()
    assert blocks == sorted(blocks) and set(blocks) == set(range(blocks[-1] + 1))
    for block in set(blocks):
        inside = [size or 0 for size, own in zip(sizes, blocks, strict=True) if own == block]
        assert len(inside) <= images
        assert len(inside) == 1 or sum(inside) <= limit


@pytest.mark.parametrize("options", [{"images": 0}, {"bytes": 0}])
def test_empty_blocks_are_refused(options):
    with pytest.raises(SettingsError, match="at least 1"):
        build_manifest(listing_of(["a.jpg"]), **options)


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "outputs"),
    [
        (["a.jpg", "a.png", "b.jpg"], ["a.jpg", "a.png", "b"]),
        (["a.jpg", "a.JPG"], ["a.jpg", "a.JPG"]),
        (["a.jpg", "sub/a.jpg"], ["a", "sub/a"]),
        (["a.tar.jpg", "v1.2/b.jpg"], ["a.tar", "v1.2/b"]),
        (["a", "b/.jpg", "00000001"], ["a", "b/.jpg", "00000001"]),
        (["a", "a.jpg"], ["a", "a.jpg"]),
        (["img.001", "img.002"], ["img.001", "img.002"]),
        (["A.jpg", "a.jpg"], ["A", "a"]),
    ],
)
def test_output_names(keys, outputs):
    assert output_names(keys) == outputs
    assert build_manifest(listing_of(keys)).num_rows == len(keys)


@given(KEYS)
@settings(max_examples=300, deadline=None)
def test_outputs_never_meet(keys):
    try:
        manifest = build_manifest(listing_of(keys))
    except SettingsError as error:
        assert "would both be written" in str(error)
        return
    files = {output + ".png" for output in manifest["output"].to_pylist()}
    assert len(files) == len(keys)
    folders = {str(parent) for file in files for parent in PurePosixPath(file).parents}
    assert not files & folders


def test_a_collision_that_remains_names_both():
    with pytest.raises(SettingsError, match=r"a\.jpg and a\.jpg\.tif would both"):
        build_manifest(listing_of(["a.jpg", "a.png", "a.jpg.tif"]))


def test_a_mask_that_would_be_a_folder_names_both():
    with pytest.raises(SettingsError, match=r"a\.jpg and a\.png/deep/b\.jpg would both"):
        build_manifest(listing_of(["a.jpg", "a.png/deep/b.jpg"]))


def test_a_name_too_long_for_its_mask():
    build_manifest(listing_of(["x" * 251 + ".jpg"]))
    with pytest.raises(SettingsError, match="255 bytes"):
        build_manifest(listing_of(["x" * 251 + ".jpg", "x" * 251 + ".tif"]))


@pytest.mark.parametrize("key", ["../a.jpg", "/a.jpg", "a//b.jpg", "a/../b.jpg", "./a", "", "a/"])
def test_keys_that_would_leave_the_output_folder(key):
    with pytest.raises(SettingsError, match="not a path below"):
        build_manifest(listing_of(["ok.jpg", key]))


def test_a_key_twice():
    with pytest.raises(SettingsError, match="two files"):
        build_manifest(listing_of(["a.jpg", "a.jpg"]))


def test_case_twins():
    parts = (["IMG", "img", "e\u0301"], ["é", "b", "Img"])
    tables = [pa.table({"key": names, "output": names}) for names in parts]
    assert check_outputs(tables) == CaseTwins(3, ("IMG", "img"))
    assert check_outputs(tables[1:]) == CaseTwins(0, None)


# --- the hash -----------------------------------------------------------------------------------


def test_the_hash_knows_keys_and_sizes_but_no_place():
    keys = ["a.jpg", "b.jpg"]
    known = manifest_sha256(build_manifest(listing_of(keys)))
    assert known == manifest_sha256(build_manifest(listing_of(keys, root="s3://elsewhere")))
    others = [
        listing_of(["a.jpg"]),
        listing_of(["a.jpg", "c.jpg"]),
        listing_of(keys, [1000, 1001]),
        listing_of(keys, [1000, None]),
        listing_of(["a.jpgb.jpg"]),
    ]
    hashes = {manifest_sha256(build_manifest(other)) for other in others}
    assert known not in hashes and len(hashes) == len(others)


def test_the_hash_stays_the_same_over_versions():
    """Runs begun with an earlier version must still be known."""
    assert manifest_sha256(build_manifest(listing_of(["a.jpg", "é/b.png"], [5, None]))) == (
        "ae160d4bc514805dfc3ee3bbdf3eafc981dce7dc536dc304b7a6e641ab0c9c7b"
    )


# --- extending ----------------------------------------------------------------------------------


def test_new_keys_come_after_the_largest():
    old = build_manifest(listing_of(["b.jpg", "d.jpg", "f.jpg"]), images=2)
    listing = listing_of(["a.jpg", "b.jpg", "c.jpg", "d.jpg", "f.jpg"], root="/moved")
    new = extend_manifest(old, listing, images=2)
    assert new.schema.equals(MANIFEST)
    assert new["key"].to_pylist() == ["b.jpg", "d.jpg", "f.jpg", "a.jpg", "c.jpg"]
    assert new["image_id"].to_pylist() == [1, 2, 3, 4, 5]
    assert new["block"].to_pylist() == [0, 0, 1, 2, 2]
    assert {uri.rpartition("/")[0] for uri in new["uri"].to_pylist()} == {"/moved"}
    assert new.drop_columns("uri").slice(0, 3).equals(old.drop_columns("uri"))


def test_extending_twice_and_by_nothing():
    old = build_manifest(listing_of(["b.jpg"]))
    second = extend_manifest(old, listing_of(["a.jpg", "b.jpg"]))
    third = extend_manifest(second, listing_of(["0.jpg", "a.jpg", "b.jpg"]))
    assert third["key"].to_pylist() == ["b.jpg", "a.jpg", "0.jpg"]
    assert third["image_id"].to_pylist() == [1, 2, 3]
    assert third["block"].to_pylist() == [0, 1, 2]
    again = extend_manifest(third, listing_of(["0.jpg", "a.jpg", "b.jpg"]))
    assert again.equals(third)


def test_a_new_twin_of_an_old_key_keeps_its_extension():
    old = build_manifest(listing_of(["a.jpg"]))
    new = extend_manifest(old, listing_of(["a.jpg", "a.png"]))
    assert new["output"].to_pylist() == ["a", "a.png"]


def test_a_new_key_whose_mask_would_be_an_old_one():
    old = build_manifest(listing_of(["a.jpg", "a.png"]))
    with pytest.raises(SettingsError, match="would both"):
        extend_manifest(old, listing_of(["a.jpg", "a.png", "a.png.tif"]))


def test_a_source_that_shrank_or_changed():
    old = build_manifest(listing_of(["a.jpg", "b.jpg"]))
    with pytest.raises(SettingsError, match=r"1 image of the run.*b\.jpg"):
        extend_manifest(old, listing_of(["a.jpg", "c.jpg"]))
    with pytest.raises(SettingsError, match=r"b\.jpg had 1000 bytes"):
        extend_manifest(old, listing_of(["a.jpg", "b.jpg"], [1000, 999]))


# --- size ---------------------------------------------------------------------------------------


def test_two_hundred_thousand_images_take_seconds():
    keys = [f"camera_{number % 40:02d}/2026-11/frame_{number:08d}.jpg" for number in range(200_000)]
    listing = listing_of(keys, range(100_000, 300_000))
    start = time.process_time()
    manifest, _ = numbering.build_manifest(listing)
    assert time.process_time() - start < 8
    assert manifest.num_rows == 200_000 and len(manifest.sha256) == 64


def test_memory_holds_the_names_and_little_else():
    keys = [f"camera_{number % 40:02d}/frame_{number:08d}.jpg" for number in range(20_000)]
    listing = listing_of(keys)
    tracemalloc.start()
    build_manifest(listing)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1000 * len(keys)
