"""`--store shards`: the same run, its files in one tar per block."""

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

import maskmill as door
from maskmill.pipeline.prelabel.cutout import CutoutSettings
from maskmill.pipeline.prelabel.proof import verify_run
from maskmill.pipeline.prelabel.review_order import review_order
from maskmill.pipeline.review import gallery
from maskmill.pipeline.review.opening import open_subject
from maskmill.pipeline.review.query import Query
from maskmill.pipeline.review.renditions import Renditions
from maskmill.pipeline.review.slim_index import SlimIndex
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.shards import stray_shards
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.errors import RunFailed
from tests.jobs.in_process import run_in_process
from tests.sick_images import write_sick_images, write_small_pictures

WRITERS = ("masks", "overlays", "soft")
OK = Query(status="ok", sort="key")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Eleven pictures, in a folder and with dots in their names, and two sick files."""
    write_small_pictures(tmp_path / "photos", 9, seed=1)
    write_small_pictures(tmp_path / "photos/v1.2", 2, seed=2)
    first = sorted((tmp_path / "photos").glob("*.*"))[0]
    first.rename(first.with_name(f"a.b{first.suffix}"))
    write_sick_images(tmp_path / "photos", 2, seed=3)
    return tmp_path / "photos"


def rows_of(layout: RunLayout) -> list[dict]:
    return [row for table in layout.committed_rows() for row in table.to_pylist()]


def ok_rows(layout: RunLayout) -> list[dict]:
    return [row for row in rows_of(layout) if row["status"] == "ok"]


def problems_of(layout: RunLayout) -> list[str]:
    return [problem for checked in verify_run(layout) for problem in checked.problems]


def tree_of(layout: RunLayout) -> dict[str, str]:
    """Hashes of all files that a calm run and a disturbed one share."""
    root = Path(layout.root)
    files = [path for path in root.rglob("*") if path.is_file() and path.parent != root / "work"]
    kept = [path for path in files if path.name != "run.json" and path.parent.name != "metadata"]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in kept}


def test_every_file_is_the_one_that_would_lie_by_itself(source, tmp_path):
    files = run_in_process(source, tmp_path / "files", writers=WRITERS)
    shards = run_in_process(source, tmp_path / "shards", writers=WRITERS, store="shards")
    assert problems_of(shards) == []
    assert not (tmp_path / "shards/masks").exists()
    assert len(ok_rows(files)) == len(ok_rows(shards)) == 11
    for plain, packed in zip(ok_rows(files), ok_rows(shards), strict=True):
        assert packed["mask_sha256"] == plain["mask_sha256"]
        assert shards.read(packed["mask_path"]) == files.read(plain["mask_path"])
        assert read_bytes(shards.uri(packed["mask_path"])) == files.read(plain["mask_path"])
        for one, other in zip(plain["files"], packed["files"], strict=True):
            assert shards.read(other["path"]) == files.read(one["path"])
        with (tmp_path / "shards" / packed["shard"]).open("rb") as stream:
            stream.seek(packed["offset"])
            assert stream.read(packed["length"]) == files.read(plain["mask_path"])
    assert shards.read("annotations.json") == files.read("annotations.json")


def test_members_are_samples_as_webdataset_groups_them(source, tmp_path):
    layout = run_in_process(source, tmp_path / "out", writers=WRITERS, store="shards")
    samples: dict[str, dict[str, bytes]] = {}
    for shard in sorted((tmp_path / "out/shards").iterdir()):
        with tarfile.open(shard) as tar:
            for member in tar:
                # WebDataset: the sample's key ends at the first dot after the last slash
                folder, slash, base = member.name.rpartition("/")
                key, _, ending = base.partition(".")
                samples.setdefault(folder + slash + key, {})[ending] = tar.extractfile(
                    member
                ).read()
    assert len(samples) == 11
    for files in samples.values():
        assert set(files) == {"mask.png", "overlays.jpg", "soft.npz", "json"}
    described = {json.loads(files["json"])["key"]: files for files in samples.values()}
    for row in ok_rows(layout):
        told = json.loads(described[row["key"]]["json"])
        assert (told["width"], told["height"]) == (row["width"], row["height"])
        assert told["classes"] == row["classes"]
        assert described[row["key"]]["mask.png"] == layout.read(row["mask_path"])


def test_a_run_that_was_cut_off_ends_with_the_same_shards(source, tmp_path, monkeypatch):
    calm = run_in_process(source, tmp_path / "calm", store="shards")
    written = RunLayout.write

    def breaks(self, relative, data):
        if relative == "metadata/block-0000001.parquet":
            raise RunFailed("the disk went away between a shard and its rows")
        written(self, relative, data)

    with monkeypatch.context() as patch:
        patch.setattr(RunLayout, "write", breaks)
        with pytest.raises(RunFailed, match="the disk went away"):
            run_in_process(source, tmp_path / "cut", store="shards")
    cut = run_in_process(source, tmp_path / "cut")  # goes on as it began
    assert problems_of(cut) == []
    assert tree_of(cut) == tree_of(calm)


def test_files_asked_for_later_replace_the_shards(source, tmp_path):
    layout = run_in_process(source, tmp_path / "out", store="shards")
    before = {row["key"]: layout.read(row["mask_path"]) for row in ok_rows(layout)}
    shards = {row["shard"] for row in ok_rows(layout)}
    run_in_process(source, tmp_path / "out", writers=("masks", "overlays"))
    assert problems_of(layout) == []
    assert {row["key"]: layout.read(row["mask_path"]) for row in ok_rows(layout)} == before
    assert not shards & {row["shard"] for row in ok_rows(layout)}
    assert stray_shards(layout) == []
    assert all(row["files"][0]["name"] == "overlays" for row in ok_rows(layout))


def test_a_damaged_or_foreign_shard_is_found(source, tmp_path):
    layout = run_in_process(source, tmp_path / "out", store="shards")
    row = ok_rows(layout)[0]
    shard = tmp_path / "out" / row["shard"]
    data = bytearray(shard.read_bytes())
    data[row["offset"] + row["length"] // 2] ^= 1
    shard.write_bytes(data)
    assert any("its hash differs" in problem for problem in problems_of(layout))
    shard.write_bytes(data[: row["offset"] + 10])
    assert any(row["key"] in problem for problem in problems_of(layout))
    shard.unlink()
    assert any("is missing" in problem for problem in problems_of(layout))
    (tmp_path / "out/shards/block-0000009-000000000000.tar").write_bytes(b"")
    assert any("no file that a row speaks of" in problem for problem in problems_of(layout))


def test_all_that_reads_a_run_reads_shards(source, tmp_path):
    files = run_in_process(source, tmp_path / "files", writers=WRITERS)
    shards = run_in_process(source, tmp_path / "shards", writers=WRITERS, store="shards")
    audited = door.audit(str(tmp_path / "shards"), str(tmp_path / "files"), out=tmp_path / "audit")
    assert audited.ledger.ok == 11
    assert audited.result.document["metrics"]["miou"]["value"] == 1.0
    for name in ("files", "shards"):
        door.convert(str(tmp_path / name), tmp_path / f"{name}_coco", "prelabel", "coco")
    one, other = (tmp_path / f"{name}_coco/dataset" for name in ("files", "shards"))
    documents = [json.loads(next(folder.rglob("*.json")).read_bytes()) for folder in (one, other)]
    assert documents[0].pop("info") and documents[1].pop("info")
    assert documents[0] == documents[1]
    assert len(documents[0]["images"]) == 11
    orders = [review_order(layout, rarity_weight=0.5).table for layout in (files, shards)]
    assert orders[0].equals(orders[1])
    opened = door.open_run(tmp_path / "shards")
    key = ok_rows(shards)[0]["key"]
    assert (opened.mask(key) == door.open_run(tmp_path / "files").mask(key)).all()


def test_the_page_and_cutouts_read_shards(source, tmp_path):
    """Kills: a view or a cutout that looks for a file where there is a place in a shard."""
    looks = {}
    for store in ("files", "shards"):
        out = tmp_path / store
        run_in_process(source, out, writers=("masks", "soft"), store=store)
        subject = open_subject(str(out))
        index = SlimIndex(subject, None)
        index.refresh()
        items = [gallery.item(index, row["n"]) for row in gallery.page(index, OK, 0, 20)]
        renditions = Renditions(subject)
        looks[store] = [
            (mask.tobytes(), subject.confidence(item, mask.shape).tobytes(),
             renditions.thumbnail(item, 32), subject.row(item)["mask_sha256"])
            for item in items for mask in [subject.mask(item)]
        ]  # fmt: skip
        index.close()
    assert len(looks["files"]) == 11
    assert looks["shards"] == looks["files"]
    cutouts = {"cutouts": CutoutSettings(background="remove")}
    how = {"writers": ("masks", "cutouts"), "writer_settings": cutouts}
    found = []
    for store in ("files", "shards"):
        layout = run_in_process(source, tmp_path / f"cut {store}", "cutout", store=store, **how)
        assert problems_of(layout) == []
        found.append([layout.read(row["files"][0]["path"]) for row in ok_rows(layout)])
    assert len(found[0]) == 11
    assert found[0] == found[1]


def test_documents_of_blocks_become_one_by_convert(source, tmp_path):
    """Kills: a merge that repeats or loses an annotation, or numbers it anew per block."""
    one = run_in_process(source, tmp_path / "one", store="shards")
    run_in_process(source, tmp_path / "blocks", store="shards", coco="blocks")
    door.convert(str(tmp_path / "blocks"), tmp_path / "merged", "prelabel", "coco")
    merged = json.loads(next((tmp_path / "merged/dataset").rglob("*.json")).read_bytes())
    whole = json.loads(one.read("annotations.json"))

    def drawn(document):
        names = {image["id"]: image["file_name"] for image in document["images"]}
        shapes = [
            (names[shape["image_id"]], shape["category_id"], shape["segmentation"], shape["bbox"])
            for shape in document["annotations"]
        ]
        return sorted(shapes, key=str)

    assert len(drawn(whole)) >= 11
    assert drawn(merged) == drawn(whole)
    assert len({shape["id"] for shape in merged["annotations"]}) == len(drawn(whole))


def test_a_document_for_each_block_holds_what_the_one_does(source, tmp_path):
    layout = run_in_process(source, tmp_path / "out")
    whole = json.loads(layout.read("annotations.json"))
    run_in_process(source, tmp_path / "out", coco="blocks")
    assert not layout.exists("annotations.json")
    parts = [
        json.loads(path.read_bytes()) for path in sorted((tmp_path / "out/annotations").iterdir())
    ]
    assert len(parts) == 4
    for name in ("images", "annotations"):
        assert [one for part in parts for one in part[name]] == whole[name]
    assert problems_of(layout) == []
    (tmp_path / "out/annotations/block-0000001.json").unlink()
    assert problems_of(layout) == ["annotations/block-0000001.json is missing"]
    run_in_process(source, tmp_path / "out")  # as it was last; what is gone is made again
    assert problems_of(layout) == []
    run_in_process(source, tmp_path / "out", coco="none")
    assert not layout.exists("annotations")
    assert problems_of(layout) == []
