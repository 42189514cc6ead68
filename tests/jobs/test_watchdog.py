"""A run that hangs says on what, and ends after --stall-minutes with what is committed kept."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.run import run
from maskmill.jobs.watchdog import watchdog
from maskmill.pipeline.runs.attempts import begin_stage
from maskmill.schemas.errors import RunFailed
from tests.jobs.fifth_job import LettersJob

ROOT = Path(__file__).resolve().parents[2]
DRIVER = """
import sys
from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.options import exits_cleanly
from maskmill.jobs.run import run
from maskmill.signals import leave_if_stopped, stop_on_signals
from tests.jobs import fifth_job
from tests.jobs.fifth_job import LettersJob

@exits_cleanly
def command():
    if sys.argv[3] == "ray":
        import ray
        ray.cloudpickle.register_pickle_by_value(fifth_job)
    how = RunOptions(engine=sys.argv[3], stall_minutes=float(sys.argv[4]))
    run(LettersJob(*sys.argv[1:3]), how)

stop_on_signals()
try:
    command()
finally:
    leave_if_stopped()
"""


@pytest.fixture
def job(tmp_path) -> LettersJob:
    """Nine files of three blocks; reading one in the middle never ends."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(1, 10):
        (source / f"{number}.txt").write_text("x" * number)
    return LettersJob(str(source), str(tmp_path / "out"))


def hang_on(job: LettersJob, name: str) -> None:
    path = Path(job.source, name)
    path.unlink()
    os.mkfifo(path)  # reading waits for a writer


@pytest.mark.parametrize(
    ("engine", "minutes"), [("local", "0.1"), pytest.param("ray", "0.7", marks=pytest.mark.slow)]
)
def test_a_run_that_hangs_ends_and_goes_on_later(job, engine, minutes):
    hang_on(job, "5.txt")
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER, job.source, job.out, engine, minutes],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert "no block has been committed for 0." in ended.stderr
    assert "under way: block 1 (4.txt … 6.txt)" in ended.stderr
    assert f"--stall-minutes {minutes}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert 0 in job.layout.committed_blocks()
    assert 1 not in job.layout.committed_blocks()
    if engine == "local":
        assert time.monotonic() - started < 60
    Path(job.source, "5.txt").unlink()
    Path(job.source, "5.txt").write_text("xxxxx")
    outcome = run(job, RunOptions(engine="local"))
    assert (outcome.ledger.ok, outcome.result) == (9, 45)


def test_it_says_now_and_then_what_is_under_way(job, capfd):
    run(job, RunOptions(engine="local"))
    begin_stage(job.layout, 2, "load", "somebody")
    with watchdog(job.layout, [0, 1, 2], minutes=0, say_minutes=0.005):
        time.sleep(1)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert "under way: block 2 (7.txt … 9.txt)" in lines[0]
    with watchdog(job.layout, [0, 1, 2], minutes=0, say_minutes=0.02) as dog:
        for _ in range(20):
            time.sleep(0.05)
            dog.heard()
    assert capfd.readouterr().err == ""


def test_the_callers_signals_are_as_before(job):
    before = signal.getsignal(signal.SIGUSR2)
    with (
        pytest.raises(RunFailed, match="no block has been committed"),
        watchdog(job.layout, [], minutes=0.002),
    ):
        time.sleep(10)
    assert signal.getsignal(signal.SIGUSR2) is before
    with pytest.raises(KeyboardInterrupt), watchdog(job.layout, [], minutes=1):
        signal.raise_signal(signal.SIGINT)
