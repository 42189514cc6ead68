"""Whole runs with their folder on S3: on a bad day, and when another run takes the folder."""

import io
import json
import tarfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import maskmill
from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.run import run
from maskmill.pipeline.audit.job import AuditJob
from maskmill.pipeline.audit.plan import AuditOptions
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.lock import run_lock
from maskmill.pipeline.sources.frame_choice import FrameChoice
from maskmill.pipeline.sources.registry import list_source
from maskmill.pipeline.storage.retries import RETRIES
from maskmill.schemas.errors import RunFailed, RunRefused
from tests.jobs.fifth_job import CountLetters, LettersJob
from tests.jobs.in_process import run_in_process
from tests.s3_servers import FaultProxy
from tests.sick_images import encode, write_small_pictures

ONE_BY_ONE = RunOptions(engine="local", workers=1)


@pytest.fixture
def job(place: str, tmp_path: Path) -> LettersJob:
    """Thirty files of ten blocks, 465 letters."""
    for number in range(1, 31):
        (tmp_path / f"{number:02d}.txt").write_text("x" * number)
    return LettersJob(str(tmp_path), place)


def record_of(job: LettersJob) -> dict[str, object]:
    return json.loads(job.layout.read("run.json"))


def test_a_run_through_throttling_ends_as_any_other(job, proxy: FaultProxy):
    job = LettersJob(job.source, job.out, block=10)
    proxy.faults.slow_down = 0.2
    before = RETRIES.retries
    outcome = run(job, ONE_BY_ONE)
    assert (outcome.ledger.ok, outcome.ledger.failed, outcome.result) == (30, 0, 465)
    assert record_of(job)["state"] == "finished"
    assert RETRIES.retries - before == sum(proxy.refused.values()) > 0
    assert not job.layout.exists(job.layout.lock)
    assert run(job, ONE_BY_ONE).done_now == 0


@pytest.mark.slow
def test_the_driver_hears_of_its_workers_retries(place: str, proxy: FaultProxy, tmp_path: Path):
    for number in range(12):
        Image.new("L", (20, 20), number).save(tmp_path / f"{number}.png")
    proxy.faults.slow_down = 0.2
    before = RETRIES.retries
    how = {"labels": "voc", "engine": "ray", "workers": 1, "block_samples": 4}
    outcome = maskmill.convert(tmp_path, place, "masks", "coco", **how)
    assert outcome.ledger.ok == 12
    assert RETRIES.retries - before == sum(proxy.refused.values()) > 0


def test_a_run_that_loses_its_folder_stops_and_goes_on_later(job, monkeypatch):
    plainly = CountLetters.letters

    def with_a_rival(self: CountLetters, entry: dict) -> dict:
        time.sleep(0.2)
        if entry["key"] == "05.txt":
            rival = {"token": "t", "holder": "elsewhere, process 7", "seconds": 2.0}
            job.layout.write(job.layout.lock, json.dumps(rival).encode())
            time.sleep(2.0)  # longer than between two renewals
        return plainly(self, entry)

    monkeypatch.setattr("maskmill.jobs.run.run_lock", partial(run_lock, lease_seconds=2.0))
    monkeypatch.setattr(CountLetters, "letters", with_a_rival)
    with pytest.raises(RunFailed, match=r"held by another run \(elsewhere, process 7\) now"):
        run(job, ONE_BY_ONE)
    assert record_of(job)["state"] == "running"
    assert 0 < len(job.layout.committed_blocks()) < 10
    assert json.loads(job.layout.read(job.layout.lock))["token"] == "t"

    monkeypatch.setattr(CountLetters, "letters", plainly)
    job.layout.write(job.layout.lock, json.dumps({"holder": "the rival", "seconds": 3}).encode())
    with pytest.raises(RunRefused, match=r"the rival.*its lease ends in [123] s"):
        run(job, ONE_BY_ONE)
    time.sleep(4.1)
    outcome = run(job, ONE_BY_ONE)
    assert (outcome.ledger.ok, outcome.ledger.pending, outcome.result) == (30, 0, 465)
    assert record_of(job)["state"] == "finished"


def test_runs_among_pictures_in_a_bucket_cost_a_request_each(place: str, proxy: FaultProxy):
    """Their masks come before what says that they are runs, whose videos nobody reads."""
    out, _, options = place.partition("?")
    photos = RunLayout(f"{out} photos?{options}")
    run_files = (photos.run_record, photos.manifest)
    for name in ("a.jpg", "old/cutouts/b.png", "old/masks/b.png", "old/videos/c.mp4", "z/d.jpg",
                 *(f"old/{name}" for name in run_files), "z/run.json"):  # fmt: skip
        photos.write(name, b"none is read")
    counts = []
    for left_out in ((), run_files):
        proxy.counts.clear()
        listing = list_source(photos.root, run_files=left_out)
        counts.append(sum(proxy.counts.values()))
    assert [entry.key for entry in listing.entries] == ["a.jpg", "z/d.jpg"]
    assert listing.not_considered["of a run"] == 2
    assert counts[1] - counts[0] <= 2 + 1  # one that is none is looked for as a folder, too
    listing = list_source(photos.root, frames=FrameChoice(), run_files=run_files)
    assert (listing.not_considered["of a run"], listing.videos) == (3, 0)


def write_tar(path: Path, count: int) -> Path:
    """Photographs of some 100 kB, as collections have them: more than a reader takes at a gulp."""
    noise = np.random.default_rng(1)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(count):
            data = encode(noise.integers(0, 256, (260, 360, 3), np.uint8), "JPEG", quality=90)
            entry = tarfile.TarInfo(f"photos/{number:05}.jpg")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


@pytest.mark.slow
def test_shards_from_a_tar_cost_a_bucket_few_requests(
    place: str, proxy: FaultProxy, tmp_path: Path
):
    """Kills: what a tar, a picture, a block costs beyond a tenth of a request an image."""
    out, _, options = place.partition("?")
    source = RunLayout(f"{out} source?{options}")
    counts = []
    for blocks in (1, 3):  # what a run costs by itself is in both
        name = f"{blocks}.tar"
        source.write(name, write_tar(tmp_path / name, 128 * blocks).read_bytes())
        proxy.counts.clear()
        layout = run_in_process(
            source.uri(name),
            f"{out} {blocks}?{options}",
            store="shards",
            block_images=None,
            image_size=33,
        )
        assert len(layout.committed_blocks()) == blocks
        counts.append(sum(proxy.counts.values()))
    assert (counts[1] - counts[0]) / 256 <= 0.1  # listing, pictures, notes, shards, rows, documents
    assert counts[0] <= 70


@pytest.mark.slow
def test_a_block_costs_a_bucket_three_writes(place: str, proxy: FaultProxy, tmp_path: Path):
    write_small_pictures(tmp_path, 32, seed=1)
    counts = []
    for block_images in (16, 2):
        proxy.counts.clear()
        out, _, options = place.partition("?")
        run_in_process(
            tmp_path, f"{out} {block_images}?{options}", store="shards", block_images=block_images
        )
        counts.append(proxy.counts.copy())
    more = counts[1] - counts[0]
    assert more["PUT"] == 3 * 14  # a note, a shard, the rows
    assert sum(more.values()) / 14 <= 10


def test_an_audit_of_two_sides_in_a_bucket_pairs_as_one_on_a_disk(place: str, tmp_path: Path):
    """Sides, pictures and OUT on S3; the same names on disk give the same pairs."""
    top, _, options = place.partition("?")
    names = {"p": "a/{}_pred.png", "t": "{}.tif", "i": "far/{}.jpg"}
    remote = {side: f"{top}/{side}?{options}" for side in names}
    for side, form in names.items():
        for number in range(5):
            data = encode(np.full((8, 8), number, np.uint8), "TIFF" if side == "t" else "PNG")
            RunLayout(remote[side]).write(form.format(number + (side == "t")), data)
            RunLayout(str(tmp_path / side)).write(form.format(number + (side == "t")), data)
    rows = []
    for sides, out in (({one: str(tmp_path / one) for one in names}, str(tmp_path / "out")),
                       (remote, f"{top}/out?{options}")):  # fmt: skip
        asked = AuditOptions(
            predictions=sides["p"], truth=sides["t"], images=sides["i"], labels="voc",
            counts_only=True, resamples=10,
        )  # fmt: skip
        job = AuditJob(options=asked, out=out)
        outcome = run(job, ONE_BY_ONE)
        assert (outcome.ledger.ok, outcome.ledger.failed) == (4, 2)
        steady = ["pair_id", "key", "error_code", "error_message", "cells", "image_sha256"]
        rows.append(
            [row for table in job.layout.committed_rows(steady) for row in table.to_pylist()]
        )
    assert rows[0] == rows[1] and all(row["image_sha256"] for row in rows[0] if row["cells"])
