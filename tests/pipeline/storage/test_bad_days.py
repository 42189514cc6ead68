"""Every trouble of a bucket, at every kind of request that a run makes: nothing is lost.

Each trouble strikes each kind of file once or more (`FaultProxy` counts which), and the run goes on
as if nothing had been. What stays is one failed row, or a run that ends with a sentence.
"""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pyarrow as pa
import pytest

from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.machine_failures import machine_failure
from maskmill.jobs.run import run
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.sources.registry import list_source
from maskmill.pipeline.storage.readahead import read_ahead
from maskmill.pipeline.storage.retries import DENIALS, RETRIES
from maskmill.schemas.errors import ArchiveFailure, ErrorCode, ImageFailure
from tests.jobs.fifth_job import LettersJob
from tests.jobs.in_process import run_in_process
from tests.s3_servers import FaultProxy, Faults, request
from tests.sick_images import write_small_pictures

ROOT = Path(__file__).resolve().parents[3]
TROUBLES = {
    "busy": 3,
    "resets": 2,
    "lost_answers": 2,
    "denials": 3,
    "stalls": 1,
    "late_bodies": 1,
    "torn": 2,
}
"""Trouble -> how often in a row it strikes one kind of file."""
READ_ONLY = ("late_bodies", "torn")
"""What an answer without a body cannot have."""
WRITTEN = {
    "files": ("/masks/", "/metadata/", "/attempts/", "/lock", "/annotations.json"),
    "shards": ("/shards/", "/metadata/", "/attempts/", "/lock", "/run.json"),
}


def strike(proxy: FaultProxy, trouble: str, *methods: str, targets: tuple[str, ...]) -> None:
    proxy.faults = Faults(only=methods, targets=targets, stall_seconds=1.6)
    setattr(proxy.faults, trouble, TROUBLES[trouble])


def struck(proxy: FaultProxy) -> set[str]:
    return {target for _, target in proxy.faults.dealt}


@pytest.fixture
def pictures() -> dict[str, bytes]:
    return {f"{number}.png": bytes([number]) * (200 + number) for number in range(3)}


@pytest.fixture
def source(place: str) -> RunLayout:
    head, _, options = place.partition("?")
    return RunLayout(f"{head} source?{options}")


def put(source: RunLayout, kind: str, pictures: dict[str, bytes]) -> str:
    """The pictures as files, a tar, a zip's neighbour or a Parquet file in the bucket; its URI."""
    if kind == "files":
        for name, data in pictures.items():
            source.write(f"files/{name}", data)
        return source.uri("files")
    if kind == "parquet":
        source.write_table("x.parquet", pa.table({"image": pa.array(list(pictures.values()))}))
        return source.uri("x.parquet")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in pictures.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    source.write("x.tar", buffer.getvalue())
    return source.uri("x.tar")


@pytest.mark.parametrize("kind", ["files", "tar", "parquet"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_sources_are_read_through_every_trouble(source, proxy, pictures, kind, trouble):
    uri = put(source, kind, pictures)
    target = {"files": "files/", "tar": "x.tar", "parquet": "x.parquet"}[kind]
    strike(proxy, trouble, "GET", targets=(target,))
    before = RETRIES.retries
    entries = list(list_source(uri).entries)
    read = read_ahead(entry.uri for entry in entries)
    assert [read(entry.uri, None) for entry in entries] == list(pictures.values())
    assert proxy.faults.dealt[trouble, target] == TROUBLES[trouble]
    assert RETRIES.retries - before == TROUBLES[trouble]


def test_what_stays_denied_costs_itself(source, proxy, pictures):
    uri = put(source, "files", pictures)
    entries = list(list_source(uri).entries)
    proxy.faults = Faults(denials=1000, targets=("/1.png",))
    read = read_ahead(entry.uri for entry in entries)
    assert read(entries[0].uri, None) == pictures["0.png"]
    with pytest.raises(ImageFailure, match="access denied") as caught:
        read(entries[1].uri, None)
    assert caught.value.code is ErrorCode.PERMISSION_DENIED
    assert proxy.faults.dealt["denials", "/1.png"] == DENIALS
    assert read(entries[2].uri, None) == pictures["2.png"]


def test_an_archive_that_cannot_be_had_is_not_called_broken(source, proxy, pictures):
    uri = put(source, "tar", pictures)
    proxy.faults = Faults(denials=1000, targets=("x.tar",), only=("GET",))
    with pytest.raises(Exception, match="access denied") as caught:
        list_source(uri)
    assert not isinstance(caught.value, ArchiveFailure)
    assert "plain tar" not in str(caught.value)


def digests(layout: RunLayout, store: str) -> dict[str, str]:
    """Of every file of the run that is promised byte for byte."""
    rows = pa.concat_tables(layout.committed_rows(["key", "status", "mask_path"])).to_pylist()
    assert [row["status"] for row in rows] == ["ok"] * 6
    names = {row["key"]: layout.read(row["mask_path"]) for row in rows}
    names["annotations.json"] = layout.read("annotations.json")
    return {name: hashlib.sha256(data).hexdigest() for name, data in names.items()}


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """Six photographs, and an undisturbed run on a disk."""
    folder = tmp_path_factory.mktemp("calm")
    write_small_pictures(folder / "in", 6, seed=5)
    layout = run_in_process(folder / "in", folder / "out", block_images=2)
    return folder / "in", digests(layout, "files")


@pytest.mark.slow
@pytest.mark.parametrize("store", WRITTEN)
@pytest.mark.parametrize("trouble", [one for one in TROUBLES if one not in READ_ONLY])
def test_outputs_are_written_through_every_trouble(calm, place, proxy, store, trouble):
    photos, expected = calm
    strike(proxy, trouble, "PUT", targets=WRITTEN[store])
    before = RETRIES.retries
    layout = run_in_process(photos, place, store=store, block_images=2)
    assert struck(proxy) == set(WRITTEN[store])
    proxy.faults = Faults()
    assert digests(layout, store) == expected
    record = json.loads(layout.read("run.json"))
    assert record["state"] == "finished"
    assert record["ledger"]["ok"] == 6
    told = record["sessions"][-1]["storage_retries"]
    assert 0 < told <= RETRIES.retries - before
    assert not layout.exists(layout.lock)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_is_read_again_of_a_run_is_whole(calm, place, proxy, trouble):
    """Manifest, rows and lease are read while a run lasts, and by whoever goes on."""
    photos, expected = calm
    run_in_process(photos, place, limit=4, block_images=2)
    strike(proxy, trouble, "GET", targets=("/run.json", "/metadata/", "/manifest/"))
    layout = run_in_process(photos, place, extend=True, block_images=2)
    assert struck(proxy) == {"/run.json", "/metadata/", "/manifest/"}
    proxy.faults = Faults()
    assert digests(layout, "files") == expected


@pytest.mark.thorough
@pytest.mark.parametrize("target", ["/metadata/", "/attempts/"])
def test_a_run_that_stays_denied_ends_with_a_sentence_and_goes_on(place, proxy, tmp_path, target):
    for number in range(1, 7):
        (tmp_path / f"{number}.txt").write_text("x" * number)
    job = LettersJob(str(tmp_path), place, block=2)
    proxy.faults = Faults(denials=1000, targets=(target,), only=("PUT",))
    with pytest.raises(PermissionError) as caught:
        run(job, RunOptions(engine="local", workers=1))
    said = machine_failure(caught.value)
    assert said is not None and "access denied" in said and target in said
    assert not job.layout.exists(job.layout.lock)
    proxy.faults = Faults()
    outcome = run(job, RunOptions(engine="local", workers=1))
    assert (outcome.ledger.ok, outcome.result) == (6, 21)
    sessions = json.loads(job.layout.read("run.json"))["sessions"]
    assert sessions[-1]["storage_retries"] == 0


def test_a_store_that_stays_down_is_a_sentence(place, proxy):
    impatient = RunLayout(f"{place}&retry_seconds=0.5")
    impatient.write("x", b"1")
    proxy.faults.down = True
    with pytest.raises(OSError) as caught:
        impatient.write("x", b"1")
    assert "gave up after" in str(machine_failure(caught.value))


HALF = """
import sys
from maskmill.pipeline.runs.layout import RunLayout
RunLayout(sys.argv[1]).write("shards/x.tar", bytes(20 << 20))
"""


def uploads(server: str, bucket: str) -> list[str]:
    found = request(server, "GET", f"/{bucket}?uploads").decode()
    return [part.partition("</Key>")[0] for part in found.split("<Key>")[1:]]


@pytest.mark.thorough
def test_a_killed_upload_is_ended_by_the_next_start(place, proxy, server, bucket, tmp_path):
    for number in range(1, 4):
        (tmp_path / f"{number}.txt").write_text("x" * number)
    job = LettersJob(str(tmp_path), place)
    run(job, RunOptions(engine="local", workers=1))
    request(server, "POST", f"/{bucket}/elsewhere?uploads")
    proxy.faults = Faults(stalls=100, stall_seconds=30, only=("PUT",))
    writer = subprocess.Popen([sys.executable, "-c", HALF, place], cwd=ROOT)
    end = time.monotonic() + 60
    while len(uploads(server, bucket)) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    proxy.faults = Faults()
    assert sorted(uploads(server, bucket)) == ["elsewhere", "out put/shards/x.tar"]
    run(job, RunOptions(engine="local", workers=1))  # all was done: nothing is looked for
    assert len(uploads(server, bucket)) == 2
    record = json.loads(job.layout.read("run.json"))
    job.layout.write("run.json", json.dumps({**record, "state": "running"}).encode())
    run(job, RunOptions(engine="local", workers=1))
    assert uploads(server, bucket) == ["elsewhere"]


def test_uploads_that_may_not_be_listed_are_no_reason_to_stop(place, proxy, tmp_path, capsys):
    (tmp_path / "1.txt").write_text("x")
    job = LettersJob(str(tmp_path), place)
    run(job, RunOptions(engine="local", workers=1))
    record = json.loads(job.layout.read("run.json"))
    job.layout.write("run.json", json.dumps({**record, "state": "running"}).encode())
    proxy.faults = Faults(denials=1000, targets=("?uploads",))
    assert run(job, RunOptions(engine="local", workers=1)).ledger.ok == 1
    assert "cannot be looked up" in capsys.readouterr().err
