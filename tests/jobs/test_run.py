"""The skeleton of every job, shown with a fifth one: resume, isolation, ledger, verify, kills."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray

from maskmill.jobs.engines.choice import RunOptions, choose_engine
from maskmill.jobs.run import run
from maskmill.pipeline.runs.attempts import begin_stage, under_way
from maskmill.pipeline.runs.checks import ExpectedRows, record_problems, record_to_prove
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.lock import run_lock
from maskmill.pipeline.runs.pending import pending_blocks
from maskmill.schemas.errors import RunFailed, RunRefused, SettingsError
from tests.jobs import fifth_job
from tests.jobs.fifth_job import LettersJob

LOCAL = RunOptions(engine="local")


@pytest.fixture
def job(tmp_path):
    """Ten files; the fourth is empty."""
    (tmp_path / "in").mkdir()
    for number in range(10):
        (tmp_path / f"in/{number}.txt").write_text("" if number == 3 else "x" * (number or 3))
    return LettersJob(str(tmp_path / "in"), str(tmp_path / "out"))


def rows_of(job):
    return [row for table in job.layout.committed_rows() for row in table.to_pylist()]


def record_of(job):
    return json.loads(Path(job.out, "run.json").read_text())


def test_a_job_is_done_counted_and_closed(job):
    outcome = run(job, LOCAL)
    assert (outcome.done_now, outcome.result, outcome.engine) == (10, 45, "local")
    assert (outcome.ledger.ok, outcome.ledger.failed, outcome.ledger.pending) == (9, 1, 0)
    assert outcome.ledger.failures == {"empty_file": 1} and outcome.examples == ["3.txt is empty"]
    record = record_of(job)
    assert (record["state"], record["ledger"]["ok"]) == ("finished", 9)
    assert [row["key"] for row in rows_of(job)] == [f"{number}.txt" for number in range(10)]
    assert sorted(path.name for path in Path(job.out).iterdir()) == [
        "manifest",
        "metadata",
        "run.json",
        "work",
    ]


def test_it_can_be_proved(job):
    run(job, LOCAL)
    layout = job.layout
    expected = ExpectedRows(layout, "image_id")
    assert list(record_problems(layout, record_to_prove(layout), expected.inputs)) == []
    for block in layout.committed_blocks():
        assert list(expected.problems(block, layout.committed_block(block))) == []
    assert list(expected.missing()) == []
    layout.delete(layout.block_path(1))
    told = [*ExpectedRows(layout, "image_id").missing()]
    assert told == ["10 items of the manifest have no row; run the same command again"]
    assert "the ledger says ok 9, counted 7" in " ".join(
        record_problems(layout, record_to_prove(layout), 10)
    )


def test_again_there_is_nothing_to_do_and_missing_rows_are_all_that_is_done(job):
    run(job, LOCAL)
    before = (Path(job.out) / "run.json").stat().st_mtime_ns
    again = run(job, LOCAL)
    assert (again.done_now, again.result, again.engine) == (0, 45, "")
    assert len(record_of(job)["sessions"]) == 1 and before
    job.layout.delete(job.layout.block_path(2))
    assert run(job, LOCAL).done_now == 3


def test_failed_items_are_done_again_when_asked(job):
    run(job, LOCAL)
    Path(job.source, "3.txt").write_text("mended")
    outcome = run(job, RunOptions(engine="local", retry_failed=True))
    assert (outcome.done_now, outcome.result, outcome.ledger.failed) == (1, 51, 0)


def test_another_run_is_refused(job, tmp_path):
    run(job, LOCAL)
    Path(job.source, "new.txt").write_text("new")
    with pytest.raises(RunRefused, match="holds a different run"):
        run(job, LOCAL)


def test_rows_that_are_missing_at_the_end_are_never_a_finished_run(job, monkeypatch):
    """As where an engine finds no block to do: nothing is called finished, and it is said."""
    monkeypatch.setattr("maskmill.jobs.engines.local.LocalEngine.blocks", lambda *_, **__: iter(()))
    with pytest.raises(RunFailed, match="does not add up: 10 files, 0 ok"):
        run(job, LOCAL)
    assert record_of(job)["state"] == "running"
    monkeypatch.undo()
    assert run(job, LOCAL).done_now == 10


def test_more_rows_than_inputs_are_no_finished_run_either(job):
    run(job, LOCAL)
    stray = Path(job.out, "metadata/block-0000009.parquet")
    stray.write_bytes(Path(job.out, "metadata/block-0000000.parquet").read_bytes())
    with pytest.raises(RunFailed, match="does not add up"):
        run(job, LOCAL)


def test_a_bug_stays_loud_and_blames_nobody(job, monkeypatch):
    def broken(self, entry):
        raise KeyError("a bug")

    monkeypatch.setattr("tests.jobs.fifth_job.CountLetters.letters", broken)
    with pytest.raises(KeyError, match="a bug"):
        run(job, LOCAL)
    assert record_of(job)["state"] == "running"
    assert under_way(job.layout, range(4)) == []
    monkeypatch.undo()
    assert run(job, LOCAL).ledger.failures == {"empty_file": 1}


def test_workers_may_have_the_manifest_cut_into_other_blocks(job, monkeypatch):
    """Before it is written; then all of the new blocks are done, and no others."""
    whole = replace(job, block=100)
    monkeypatch.setattr(LettersJob, "resolve", lambda self, plan, workers: whole.plan(None))
    outcome = run(job, LOCAL)
    assert outcome.ledger.pending == 0
    assert outcome.done_now == outcome.ledger.inputs
    assert [path.name for path in Path(job.out, "metadata").iterdir()] == ["block-0000000.parquet"]


def test_a_gpu_that_is_lost_to_a_process_costs_its_item_and_the_run_goes_on(job, capsys):
    """What this process cannot do any more its children do; they end, and so it is found."""
    Path(job.source, "5 lost.txt").write_text("an illegal address")
    outcome = run(job, LOCAL)
    assert outcome.ledger.failures == {"empty_file": 1, "worker_died": 1}
    assert outcome.ledger.pending == 0
    assert outcome.done_now == outcome.ledger.inputs
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "illegal" in line]
    assert told.startswith("note: the GPU is lost to this process")
    rows = pq.read_table(Path(job.out, "metadata")).to_pylist()
    assert [row["key"] for row in rows if row["error_code"] == "worker_died"] == ["5 lost.txt"]


DRIVER = """
import sys
from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.run import run
from tests.jobs.fifth_job import LettersJob
outcome = run(LettersJob(*sys.argv[1:3]), RunOptions(engine=sys.argv[3]))
print(outcome.ledger.to_dict())
"""


def drive(job, engine="local"):
    """The same in a process of its own, which may be killed."""
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, job.source, job.out, engine], cwd=root,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_an_item_that_kills_its_process_ends_as_its_only_failure(job):
    """The first start dies of it; the next one gives the block to a child, and finds the item."""
    Path(job.source, "5 die.txt").write_text("deadly")
    first = drive(job)
    first.wait(60)
    assert first.returncode == -signal.SIGKILL
    second = drive(job)
    told, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    assert "'worker_died': 1" in told
    rows = {row["key"]: row for row in rows_of(job)}
    assert Counter(row["error_code"] for row in rows.values()) == {
        None: 9, "empty_file": 1, "worker_died": 1,
    }  # fmt: skip
    assert rows["5 die.txt"]["error_code"] == "worker_died"
    assert rows["5 die.txt"]["attempts"] > 4


def test_a_killed_driver_is_nobodys_death(job, tmp_path):
    """Ten times the whole of it is killed while one and the same item is being worked on."""
    slow = Path(job.source, "4.txt")
    slow.unlink()
    os.mkfifo(slow)  # reading waits for a writer: the process hangs on this very item
    for _ in range(10):
        driver = drive(job)
        deadline = time.monotonic() + 60
        while under_way(job.layout, [1]) != [1] and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        driver.kill()
        driver.wait()
    slow.unlink()
    slow.write_text("xxxx")
    outcome = run(job, LOCAL)
    assert outcome.ledger.failures == {"empty_file": 1} and outcome.result == 45
    assert {row["attempts"] for row in rows_of(job) if row["block"] == 1} != {1}


@pytest.mark.slow
def test_what_one_engine_began_another_finishes(job):
    job.layout  # noqa: B018 - made before
    begun = LettersJob(job.source, job.out)
    driver = drive(begun)
    driver.wait(60)
    job.layout.delete(job.layout.block_path(0))
    job.layout.delete(job.layout.block_path(3))
    before = rows_of(job)
    ray.cloudpickle.register_pickle_by_value(fifth_job)  # its processes see nothing of ours
    outcome = run(job, RunOptions(engine="ray"))
    assert (outcome.done_now, outcome.engine, outcome.result) == (4, "ray", 45)
    rows = rows_of(job)
    assert [row for row in rows if row["block"] in (1, 2)] == before
    assert "@" in rows[0]["worker"] and "@" not in before[0]["worker"]


def test_auto_takes_what_is_done_sooner(job):
    layout = RunLayout(job.out)

    def chosen(sizes, *, items=1000, **options):
        pending = pending_blocks(layout, sizes, job.table)
        return choose_engine(RunOptions(**options), layout, pending, local_items=items)

    assert chosen([3, 3]) == "local" and chosen([]) == "local"
    assert chosen([3, 3], items=0) == "ray" and chosen([3, 3], address="auto") == "ray"
    assert chosen([3], engine="ray") == "ray" and chosen([10**6], engine="local") == "local"
    begin_stage(layout, 1, "load", "a session that was killed")
    assert chosen([3]) == "local" and chosen([3, 3]) == "ray"
    with pytest.raises(SettingsError, match="--address names a cluster"):
        chosen([3], engine="local", address="auto")
    with pytest.raises(SettingsError, match="no engine 'spark'"):
        chosen([3], engine="spark")


def test_a_refused_start_leaves_no_trace(job, tmp_path):
    """Neither beside somebody's pictures nor as an empty folder of ours."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "one.txt").write_text("x")
    for out in (pictures, tmp_path / "new/out"):
        with pytest.raises(ValueError, match="planned badly"), run_lock(RunLayout(str(out))):
            raise ValueError("planned badly")
    assert [path.name for path in pictures.iterdir()] == ["one.txt"]
    assert not (tmp_path / "new/out").exists()


def test_a_lock_whose_file_was_removed_excludes_no_less(tmp_path):
    layout = RunLayout(str(tmp_path))
    with run_lock(layout), pytest.raises(RunRefused), run_lock(layout):
        pass
    with run_lock(layout):
        layout.local(layout.lock).unlink()
        with run_lock(layout), pytest.raises(RunRefused), run_lock(layout):
            pass
