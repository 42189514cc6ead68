"""Nodes of a running cluster that go away in the middle of a run."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.processes import descendants, is_alive
from tests.jobs.conftest import command_line
from tests.jobs.in_process import run_in_process
from tests.jobs.test_kills import files_of
from tests.jobs.test_running_cluster import JOINING, RAY, free_port
from tests.sick_images import write_small_pictures

pytestmark = pytest.mark.slow
TOGETHER = {**JOINING, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
READY = re.compile("This command will now block|Ray runtime started")


class Nodes:
    """A head without cores, and worker nodes of one core each; all on this machine."""

    def __init__(self, session: str, folder: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._folder, self._session = folder, session
        self._running: list[subprocess.Popen[str]] = []
        port = self.address.rpartition(":")[2]
        self.head = self._start(
            "--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false",
            f"--temp-dir={session}",
        )  # fmt: skip

    def add(self) -> subprocess.Popen[str]:
        return self._start(f"--address={self.address}", "--num-cpus=2")

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, **TOGETHER, "RAY_USAGE_STATS_ENABLED": "0"}
        environment |= {"RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "500"}
        environment.pop("PYTHONPATH", None)
        node = subprocess.Popen(
            [RAY, "start", "--block", "--object-store-memory=200000000",
             "--node-ip-address=127.0.0.1", *arguments],
            env=environment, cwd=self._folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._running.append(node)
        told: list[str] = []
        for line in node.stdout:
            told.append(line)
            if READY.search(line):
                return node
        raise AssertionError("".join(told))

    @staticmethod
    def kill(node: subprocess.Popen[str]) -> None:
        """SIGKILL to everything of a node, as a machine does that loses its power."""
        below = descendants(node.pid)
        node.kill()
        for pid in below:
            if is_alive(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        node.wait()

    def stop(self) -> None:
        for node in self._running:
            self.kill(node)


@pytest.fixture
def nodes(tmp_path) -> Iterator[Nodes]:
    with tempfile.TemporaryDirectory(prefix="ray-") as session:  # socket names must be short
        cluster = Nodes(session, tmp_path)
        try:
            yield cluster
        finally:
            cluster.stop()


def begun(source: Path, out: Path, nodes: Nodes) -> subprocess.Popen[str]:
    """A run on the cluster; it has committed something, and has not ended."""
    run = subprocess.Popen(
        command_line(
            "prelabel", source, out, "--address", nodes.address, "--model",
            "deeplabv3_mobilenet_v3_large", "--untrained", "--image-size", 257, "--precision",
            "fp32", "--block-images", 4,
        ),
        env={**os.environ, **TOGETHER}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(out.glob("metadata/*.parquet")):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return run


@pytest.fixture
def calm(tmp_path):
    """Pictures, and an undisturbed run over them."""
    source = tmp_path / "photos"
    write_small_pictures(source, 160, seed=11)
    return source, run_in_process(source, tmp_path / "calm", image_size=257)


def test_a_killed_worker_node_costs_time_and_nothing_else(tmp_path, calm, nodes):
    source, layout = calm
    first, _ = nodes.add(), nodes.add()
    run = begun(source, tmp_path / "out", nodes)
    nodes.kill(first)
    out, errors = run.communicate(timeout=250)
    assert run.returncode == 0, errors + out
    assert files_of(tmp_path / "out") == files_of(Path(layout.root))


def test_a_killed_head_ends_the_run_with_a_sentence_and_another_cluster_goes_on(
    tmp_path, calm, nodes
):
    source, layout = calm
    nodes.add()
    run = begun(source, tmp_path / "out", nodes)
    nodes.kill(nodes.head)
    _, errors = run.communicate(timeout=120)
    assert run.returncode == 1
    assert "the head of the Ray cluster at " in errors
    assert "does not answer" in errors
    assert "Traceback" not in errors
    on = subprocess.run(
        [*command_line("prelabel", source, tmp_path / "out", "--model"),
         "deeplabv3_mobilenet_v3_large", "--untrained", "--image-size", "257",
         "--precision", "fp32", "--block-images", "4"],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert on.returncode == 0, on.stderr
    assert files_of(tmp_path / "out") == files_of(Path(layout.root))
