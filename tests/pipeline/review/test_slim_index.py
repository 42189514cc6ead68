"""The index against the rows themselves, and against the order that `rank` gives."""

import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.prelabel.review_order import review_order
from maskmill.pipeline.review import gallery
from maskmill.pipeline.review.opening import open_subject
from maskmill.pipeline.review.query import SORTS, Query
from maskmill.pipeline.review.slim_index import SlimIndex, index_place
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import RunRecord
from maskmill.schemas.errors import RunFailed
from maskmill.schemas.labels import builtin
from maskmill.schemas.tables.columns import undescribed
from maskmill.schemas.tables.prelabel import METADATA
from tests.jobs.web.conftest import Served

VOC = builtin("voc")
BLOCK = 32


def made_rows(rng, block, images=BLOCK):
    """Rows of METADATA with random numbers and classes; every 29th image failed."""
    rows = []
    for place in range(images):
        n = block * BLOCK + place + 1
        row = dict.fromkeys(METADATA.names) | {
            "image_id": n, "key": f"folder{n % 7}/{n:06}.jpg", "uri": f"/gone/{n:06}.jpg",
            "block": block, "status": "ok", "sha256": "0" * 64, "bytes": 1000,
            "width": 640, "height": 480, "attempts": 1,
        }  # fmt: skip
        if n % 29 == 0:
            row |= {"status": "failed", "error_code": "truncated", "error_message": f"{n} ends"}
            rows.append(row)
            continue
        classes = [0, *sorted(rng.choice(np.arange(1, 21), rng.integers(0, 4), replace=False))]
        shares = rng.dirichlet(np.ones(len(classes)))
        row |= {
            "mask_path": f"masks/{n}.png", "mask_sha256": f"{n:064x}",
            "mean_confidence": rng.random(), "mean_entropy": rng.random(),
            "mean_margin": rng.random(), "low_confidence_fraction": rng.random(),
            "ignored_fraction": 0.0,
            "classes": [
                {"index": int(index), "name": VOC.names[index], "category_id": int(index) or None,
                 "pixels": int(share * 307200), "fraction": float(share),
                 "mean_confidence": rng.random(), "bbox": [0, 0, 9, 9], "components": 1}
                for index, share in zip(classes, shares, strict=True)
            ],
            "segments": [
                {"category_id": int(index), "area": 9, "bbox": [0, 0, 9, 9], "counts": "o" * 300,
                 "score": 0.5} for index in classes[1:]
            ],
        }  # fmt: skip
        rows.append(row)
    return rows


def write_block(folder: Path, rng, block, images=BLOCK):
    path = folder / "metadata" / f"block-{block:07}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = made_rows(rng, block, images)
    pq.write_table(pa.Table.from_pylist(rows, schema=undescribed(METADATA)), path)
    return rows


@pytest.fixture
def made(tmp_path):
    """(folder, rows) of a run of six blocks."""
    rng = np.random.default_rng(8)
    RunRecord(
        command="prelabel", identity={}, fingerprint="made", label_map=VOC.to_dict(),
        state="running",
    ).save(RunLayout(str(tmp_path)))  # fmt: skip
    rows = [row for block in range(6) for row in write_block(tmp_path, rng, block)]
    return tmp_path, rows


def opened(folder, path=None):
    subject = open_subject(str(folder))
    index = SlimIndex(subject, path)
    index.refresh()
    return subject, index


def test_every_order_is_that_of_the_rows(made):
    folder, rows = made
    _, index = opened(folder)
    column = {"confidence": "mean_confidence", "entropy": "mean_entropy", "key": "key",
              "margin": "mean_margin", "unsure": "low_confidence_fraction",
              "id": "image_id"}  # fmt: skip
    for sort, name in column.items():
        for descending in (False, True):
            known = [row for row in rows if row[name] is not None]
            expected = sorted(known, key=lambda row: row[name], reverse=descending)
            found = gallery.numbers(index, Query(sort=sort, descending=descending))
            assert found[: len(known)] == [row["image_id"] for row in expected]
            assert len(found) == len(rows)
    assert set(column) <= set(SORTS)


def test_the_review_order_is_that_of_rank(made):
    folder, _ = made
    _, index = opened(folder)
    expected = review_order(RunLayout(str(folder)), rarity_weight=0.5).table.to_pylist()
    found = gallery.page(index, Query(status="ok"), 0, 500)
    assert [row["n"] for row in found] == [row["image_id"] for row in expected]
    np.testing.assert_allclose(
        [row["score"] for row in found], [row["score"] for row in expected], rtol=1e-12
    )


def test_filters_are_those_of_python(made):
    folder, rows = made
    _, index = opened(folder)

    def has(row, index_, least=0.0, most=1.0):
        return any(
            one["index"] == index_ and least <= one["fraction"] <= most
            for one in row["classes"] or []
        )

    cases = [
        (Query(class_index=3), lambda row: has(row, 3)),
        (Query(class_index=3, share=(0.2, 0.6)), lambda row: has(row, 3, 0.2, 0.6)),
        (Query(entropy=(0.3, None)), lambda row: (row["mean_entropy"] or -1) >= 0.3),
        (Query(confidence=(None, 0.4), folder="folder2"),
         lambda row: row["mean_confidence"] is not None and row["mean_confidence"] <= 0.4
         and row["key"].startswith("folder2/")),
        (Query(status="failed"), lambda row: row["status"] == "failed"),
        (Query(text="0010"), lambda row: "0010" in row["key"]),
        (Query(text="%"), lambda row: False),
    ]  # fmt: skip
    for query, fits in cases:
        expected = sorted(row["image_id"] for row in rows if fits(row))
        assert sorted(gallery.numbers(index, query)) == expected
        assert gallery.total(index, query) == len(expected)
    pages = [gallery.page(index, Query(), start, 50) for start in range(0, 200, 50)]
    together = [row["n"] for rows_ in pages for row in rows_]
    assert together == gallery.numbers(index, Query())


def test_a_run_under_way_is_followed_and_rows_done_again_replace_theirs(made):
    folder, _ = made
    path = folder / "review" / "index.duckdb"
    _, index = opened(folder, path)
    rng = np.random.default_rng(9)
    write_block(folder, rng, 6, images=5)
    assert index.refresh() and gallery.total(index, Query()) == 6 * BLOCK + 5
    assert not index.refresh()
    again = write_block(folder, np.random.default_rng(10), 2)
    assert index.refresh() and gallery.total(index, Query()) == 6 * BLOCK + 5
    found = gallery.image(index, again[1]["image_id"])
    assert found["entropy"] == again[1]["mean_entropy"]
    index.close()
    _, later = opened(folder, path)  # what was kept is used: nothing is read again
    assert gallery.total(later, Query()) == 6 * BLOCK + 5 and not later.refresh()
    later.close()
    shutil.rmtree(folder / "metadata")
    write_block(folder, rng, 0, images=3)
    _, fewer = opened(folder, path)
    assert gallery.total(fewer, Query()) == 3
    fewer.close()


def test_a_kept_index_of_another_run_and_a_damaged_one_are_made_anew(made):
    folder, rows = made
    path = folder / "review" / "index.duckdb"
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 100)
    _, index = opened(folder, path)
    assert gallery.total(index, Query()) == len(rows)
    index.close()
    record = RunRecord(command="prelabel", identity={}, fingerprint="other",
                       label_map=VOC.to_dict())  # fmt: skip
    record.save(RunLayout(str(folder)))
    (folder / "metadata" / "block-0000003.parquet").unlink()
    _, index = opened(folder, path)
    assert gallery.total(index, Query()) == len(rows) - BLOCK
    index.close()


def test_torn_rows_are_told_with_their_file(made):
    folder, _ = made
    torn = folder / "metadata" / "block-0000001.parquet"
    torn.write_bytes(torn.read_bytes()[:200])
    with pytest.raises(RunFailed, match=r"block-0000001.*cannot be read as Parquet"):
        opened(folder)


def test_the_index_lies_in_the_run_or_where_one_may_write(made, tmp_path):
    folder, _ = made
    subject = open_subject(str(folder))
    assert index_place(subject, tmp_path / "cache") == folder / "review" / "index.duckdb"
    folder.chmod(0o555)
    try:
        place = index_place(subject, tmp_path / "cache")
    finally:
        folder.chmod(0o755)
    import os

    if os.geteuid():  # root may write anywhere
        assert place.parent == tmp_path / "cache" / "view"


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A run of 100,000 rows in 3,125 blocks, as of prelabel."""
    folder, rng = tmp_path_factory.mktemp("large"), np.random.default_rng(1)
    RunRecord(command="prelabel", identity={}, fingerprint="large", label_map=VOC.to_dict(),
              state="finished").save(RunLayout(str(folder)))  # fmt: skip
    first = made_rows(rng, 0)
    (folder / "metadata").mkdir()
    for block in range(3125):
        for place, row in enumerate(first):
            n = block * BLOCK + place + 1
            row |= {"image_id": n, "key": f"folder{n % 50}/{n:06}.jpg", "block": block}
            if row["mean_entropy"] is not None:
                row["mean_entropy"] = row["mean_confidence"] = float(rng.random())
        path = folder / "metadata" / f"block-{block:07}.parquet"
        pq.write_table(pa.Table.from_pylist(first, schema=undescribed(METADATA)), path)
    return folder


@pytest.mark.slow
def test_a_hundred_thousand_images(large):
    """Processor seconds, since other programs' load is not ours; two cores halve the first."""
    started, clock = time.process_time(), time.perf_counter()
    _, index = opened(large, large / "review" / "index.duckdb")
    opening, waited = time.process_time() - started, time.perf_counter() - clock
    slowest = longest = 0.0
    for query in (Query(), Query(class_index=3, share=(0.1, None)), Query(sort="entropy"),
                  Query(text="0123"), Query(confidence=(0.2, 0.3), sort="key")):  # fmt: skip
        for ask in (
            lambda: gallery.page(index, query, 50, 60),  # noqa: B023
            lambda: gallery.counts(index, query),  # noqa: B023
            lambda: gallery.numbers(index, query),  # noqa: B023
        ):
            started, clock = time.process_time(), time.perf_counter()
            ask()
            slowest = max(slowest, time.process_time() - started)
            longest = max(longest, time.perf_counter() - clock)
    print(f"opening {opening:.2f} s, slowest question {slowest:.3f} s of processor time; "
          f"by the clock {waited:.2f} s and {longest:.3f} s")  # fmt: skip
    assert gallery.total(index, Query()) == 100_000
    assert opening < 9 and slowest < 0.25
    index.close()


@pytest.mark.slow
def test_the_server_of_a_hundred_thousand_images_stays_small(large):
    """From the first opening on, with whatever a page asks for."""
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("needs /proc, for the largest memory of a process")
    shutil.rmtree(large / "review", ignore_errors=True)
    server = Served(large, wait=600)
    try:
        assert server.ask("/api/run")["images"] == 100_000
        for query in ("", "&sort=entropy", "&class=3&share=0.1..", "&text=0123&sort=key"):
            assert server.ask(f"/api/page?limit=60&offset=60{query}")["rows"]
            assert server.ask(f"/api/numbers?{query}")
            assert server.ask(f"/api/counts?{query}")["classes"]
        told = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
        peak = next(line.split()[1] for line in told.splitlines() if line.startswith("VmHWM"))
    finally:
        server.stop()
    print(f"largest memory {int(peak) / 1024:.0f} MiB")
    assert int(peak) * 1024 < 500e6
