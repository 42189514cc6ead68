"""The lock of a run folder on S3: who gets it, who keeps it, who is told that it is lost."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.lock import run_lock
from maskmill.schemas.errors import RunFailed, RunRefused
from tests.s3_servers import FaultProxy, fault_proxy

LIFE = 8.0  # seconds of a lease in these tests; renewed every two


@pytest.fixture
def layout(place: str) -> RunLayout:
    return RunLayout(place)


def lease_of(layout: RunLayout) -> dict[str, object]:
    return json.loads(layout.read(layout.lock))


def leave_a_lease(layout: RunLayout, **values: object) -> None:
    """What a run leaves that is killed."""
    document = {"token": "t", "holder": "elsewhere, process 7", "seconds": LIFE, **values}
    layout.write(layout.lock, json.dumps(document).encode())


def wait_until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_one_run_holds_it_and_lets_go(layout):
    with run_lock(layout, lease_seconds=LIFE) as lock:
        lock.check()
        assert lock.note == ""
        with (
            pytest.raises(RunRefused, match=rf"process {os.getpid()}\).*its lease ends in \d+ s"),
            run_lock(layout, lease_seconds=LIFE),
        ):
            pass
        lock.check()
    assert not layout.exists(layout.lock)
    with run_lock(layout, lease_seconds=LIFE):
        pass
    assert not layout.exists("work")  # no probes are left


def test_it_is_renewed(layout):
    with run_lock(layout, lease_seconds=2.0) as lock:
        first = lease_of(layout)
        wait_until(lambda: lease_of(layout)["serial"] >= first["serial"] + 5)  # > two lives
        lock.check()
        assert lease_of(layout)["token"] == first["token"]


STARTER = """
import sys, time
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.lock import run_lock
from maskmill.schemas.errors import RunRefused
layout = RunLayout(sys.argv[1])
layout.exists("warm")
print("ready", flush=True)
sys.stdin.readline()
try:
    with run_lock(layout, lease_seconds=float(sys.argv[2])):
        print("holds", flush=True)
        sys.stdin.readline()
except RunRefused as refusal:
    print("refused", refusal, flush=True)
"""


def start_together(layout: RunLayout, count: int) -> list[str]:
    """What each of several processes says that start at one moment."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER, layout.root, str(LIFE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:  # the barrier opens
            process.stdin.write("\n")
            process.stdin.flush()
        return [f"{process.pid} {process.stdout.readline()}" for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def assert_one_holds(said: list[str]) -> None:
    (holder,) = [line for line in said if "holds" in line]
    refused = [line for line in said if "refused" in line]
    assert len(refused) == len(said) - 1
    assert all(f"process {holder.split()[0]})" in line for line in refused), said


def test_of_runs_that_start_at_one_moment_one_goes_on(layout):
    assert_one_holds(start_together(layout, 3))
    assert lease_of(layout)["seconds"] == LIFE  # killed: it stays, and dies by itself


def test_of_runs_that_find_one_dead_lease_one_goes_on(layout):
    leave_a_lease(layout, seconds=1.0)
    time.sleep(2.1)  # the store's clock ticks in seconds
    assert_one_holds(start_together(layout, 3))


def test_a_dead_lease_is_taken_over_whatever_this_machines_clock_says(layout, monkeypatch):
    leave_a_lease(layout, seconds=2.0, renewed=time.time() + 10_000)
    with pytest.raises(RunRefused, match="elsewhere, process 7"), run_lock(layout):
        pass
    far_ahead = time.time() + 1_000_000
    monkeypatch.setattr("time.time", lambda: far_ahead)
    with pytest.raises(RunRefused, match="elsewhere, process 7"), run_lock(layout):
        pass
    monkeypatch.undo()
    time.sleep(3.1)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with run_lock(layout, lease_seconds=LIFE) as lock:
        lock.check()


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"seconds": "many"}'])
def test_a_torn_lease_is_respected_for_its_life(layout, torn: bytes):
    layout.write(layout.lock, torn)
    with (
        pytest.raises(RunRefused, match="unknown holder"),
        run_lock(layout, lease_seconds=1.0),
    ):
        pass
    time.sleep(2.1)
    with run_lock(layout, lease_seconds=1.0):
        pass


def test_whoever_lost_it_stops_and_leaves_it_alone(layout):
    with run_lock(layout, lease_seconds=2.0) as lock:
        leave_a_lease(layout)

        def is_lost() -> bool:
            try:
                lock.check()
            except RunFailed as failure:
                return "held by another run (elsewhere, process 7)" in str(failure)
            return False

        wait_until(is_lost)
        with pytest.raises(RunFailed, match="run the same command again"):
            lock.check()
    assert lease_of(layout)["token"] == "t"  # not deleted by the loser


def test_a_lease_that_was_removed_is_lost(layout):
    with run_lock(layout, lease_seconds=1.0) as lock:
        layout.delete(layout.lock)
        time.sleep(1.0)
        with pytest.raises(RunFailed, match="was removed"):
            lock.check()


def test_renewals_outlive_trouble(layout, proxy: FaultProxy):
    with run_lock(layout, lease_seconds=4.0) as lock:
        first = lease_of(layout)["serial"]
        for trouble in ("resets", "lost_answers"):  # a lost answer: ours arrived, and is refused
            proxy.faults.only = ("PUT",)
            setattr(proxy.faults, trouble, 2)
            wait_until(lambda trouble=trouble: getattr(proxy.faults, trouble) == 0)
        wait_until(lambda: lease_of(layout)["serial"] > first + 2)
        lock.check()


def test_a_lost_answer_at_the_start_is_no_other_run(layout, proxy: FaultProxy):
    proxy.faults.only, proxy.faults.lost_answers = ("PUT",), 1
    with run_lock(layout, lease_seconds=LIFE) as lock:
        lock.check()
    assert not layout.exists(layout.lock)


def test_a_store_that_is_gone_stops_the_run_in_time_and_its_return_goes_on(layout, proxy):
    with run_lock(layout, lease_seconds=2.0) as lock:
        proxy.faults.down = True
        time.sleep(0.5)
        lock.check()  # the lease lives on
        time.sleep(1.5)
        with pytest.raises(RunFailed, match=r"could not be renewed for \d+ s.*same command again"):
            lock.check()
        proxy.faults.down = False
        lock.check()  # nobody took it
    assert not layout.exists(layout.lock)


def test_a_store_that_ignores_conditions_is_said(layout, proxy: FaultProxy):
    proxy.faults.ignores_conditions = True
    with run_lock(layout, lease_seconds=LIFE) as lock:
        assert "without conditional writes" in lock.note
        with pytest.raises(RunRefused, match="process"), run_lock(layout):
            pass
        lock.check()
    assert not layout.exists(layout.lock)


def test_another_store_of_pyarrow_is_said_too():
    layout = RunLayout("mock://somewhere/out")
    layout.filesystem.create_dir(layout.path("work"))
    with run_lock(layout) as lock:
        assert "start one at a time" in lock.note
        with pytest.raises(RunRefused, match="process"), run_lock(layout):
            pass
        lock.check()


def test_where_nothing_can_be_written(place: str, server: str, tmp_path: Path):
    with (
        pytest.raises(RunRefused, match=r"cannot write there.*no bucket nowhere"),
        run_lock(RunLayout(f"s3://nowhere/x?{place.partition('?')[2]}")),
    ):
        pass
    with fault_proxy(server, key="somebody else") as strict:
        root = f"s3://nowhere/x?scheme=http&region=us-east-1&endpoint_override={strict.address}"
        with pytest.raises(RunRefused, match="access denied"), run_lock(RunLayout(root)):
            pass
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(RunRefused, match="cannot write there"),
        run_lock(RunLayout(str(tmp_path / "file"))),
    ):
        pass


def test_a_lock_on_a_disk_is_never_lost(tmp_path: Path):
    with run_lock(RunLayout(str(tmp_path))) as lock:
        (tmp_path / "work/lock").unlink()
        lock.check()
        assert lock.note == ""
