"""Nodes that join, fall silent, are drained, are slow or blind, while a run is under way.

A real cluster on this machine: the head and whoever starts the run in the machine's own network,
each further node in a network namespace, so that its cable can be cut: nobody hears a connection
close then, as when a switch fails. Ray's health check is set to seconds instead of a minute, and
cuts are as much shorter. How far a run comes is decided by a gate (see ``gated_job``), not by time.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.run import run
from tests.jobs.cluster_nodes import (
    TOGETHER,
    Network,
    Node,
    Nodes,
    cluster_nodes,
    network_trouble,
)
from tests.jobs.gated_job import EVERYTHING, SLOWNESS, GatedJob
from tests.jobs.test_running_cluster import RAY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
ROOT = Path(__file__).resolve().parents[2]
FILES, BLOCK = 180, 3
MOST = 4
"""Cores of a node that is to get some of the processes, wherever the first are placed."""
FIRST = 9
"""So many files pass at first: some blocks are committed, and the others wait on every node."""
DRIVER = """
import sys
from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.options import exits_cleanly
from maskmill.jobs.run import run
from maskmill.signals import leave_if_stopped, stop_on_signals
from tests.jobs import fifth_job, gated_job

@exits_cleanly
def command():
    import ray
    ray.cloudpickle.register_pickle_by_value(fifth_job)
    ray.cloudpickle.register_pickle_by_value(gated_job)
    job = gated_job.GatedJob(*sys.argv[1:3])
    run(job, RunOptions(engine="ray", address=sys.argv[3], stall_minutes=6))

stop_on_signals()
try:
    command()
finally:
    leave_if_stopped()
"""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    trouble = network_trouble()
    if trouble:
        pytest.skip(trouble)
    made = Network(os.getpid() % 10_000)
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def nodes(network, tmp_path_factory) -> Iterator[Nodes]:
    """A head, and a node of two cores that stays."""
    with (
        tempfile.TemporaryDirectory(prefix="ray-") as session,  # socket names must be short
        cluster_nodes(session, tmp_path_factory.mktemp("nodes"), network) as cluster,
    ):
        cluster.add()
        yield cluster


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("letters")
    for number in range(1, FILES + 1):
        (folder / f"{number:03d}.txt").write_text("x" * number)
    return folder


@pytest.fixture(scope="module")
def calm(source, tmp_path_factory) -> GatedJob:
    """An undisturbed run."""
    job = GatedJob(str(source), str(tmp_path_factory.mktemp("calm") / "out"))
    job.open_gate(EVERYTHING)
    run(job, RunOptions(engine="local"))
    return job


_STARTED: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def no_run_is_left() -> Iterator[None]:
    """A test that fails leaves the cluster's cores to the next."""
    yield
    while _STARTED:
        process = _STARTED.pop()
        process.kill()
        process.wait()


class Run:
    """A run on the cluster, in a process of its own, and what it says."""

    def __init__(self, job: GatedJob, nodes: Nodes, *, gate: int = FIRST) -> None:
        self.job, self.errors = job, ""
        job.open_gate(gate)
        self._process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, job.source, job.out, nodes.address],
            cwd=ROOT, env={**os.environ, **TOGETHER}, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        _STARTED.append(self._process)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stderr:
            self.errors += line

    def until(self, reached: Callable[[], bool], seconds: float = 240) -> None:
        end = time.monotonic() + seconds
        while not reached():
            assert self._process.poll() is None, self.errors
            assert time.monotonic() < end, self.errors
            time.sleep(0.1)

    def until_said(self, words: str) -> None:
        self.until(lambda: words in self.errors)

    def until_begun(self) -> None:
        self.until(lambda: len(self.job.layout.committed_blocks()) >= 1)

    def end(self, gate: int = EVERYTHING, seconds: float = 300) -> int:
        self.job.open_gate(gate)
        try:
            status = self._process.wait(seconds)
        finally:
            self._process.kill()
        self._reader.join(10)
        return status


@pytest.fixture
def job(source, tmp_path) -> GatedJob:
    return GatedJob(str(source), str(tmp_path / "shared" / "out"))


def rows_of(job: GatedJob) -> list[dict]:
    rows = pq.read_table(job.layout.local("metadata")).sort_by("image_id").to_pylist()
    return [{k: v for k, v in row.items() if k not in ("worker", "attempts")} for row in rows]


def files_of(job: GatedJob) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in job.layout.local("copies").iterdir()}


def assert_same(job: GatedJob, calm: GatedJob) -> None:
    """Each file once, with the bytes of an undisturbed run; nothing is left to do."""
    assert rows_of(job) == rows_of(calm)
    assert files_of(job) == files_of(calm)
    again = run(job, RunOptions(engine="local"))
    assert (again.done_now, again.ledger.ok, again.ledger.failed) == (0, FILES, 0)


def worked_on(job: GatedJob) -> Counter[str]:
    """Rows by node, as its id begins."""
    workers = pq.read_table(job.layout.local("metadata"))["worker"].to_pylist()
    return Counter(worker.partition("@")[0] for worker in workers)


def join(begun: Run, nodes: Nodes) -> tuple[Node, str]:
    """A node that joins a run, and how its id begins; rows of it are committed."""
    node = nodes.add(cpus=MOST)
    begun.until(lambda: begun.errors.count("has joined the cluster") >= 1)
    note = next(line for line in begun.errors.splitlines() if "has joined" in line)
    assert f"({node.address})" in note
    name = note.partition("node ")[2][:12]
    begun.job.open_gate(FILES // 2)
    half = FILES // 2 // BLOCK
    begun.until(lambda: len(begun.job.layout.committed_blocks()) == half)
    assert worked_on(begun.job)[name] > 0
    begun.until(lambda: bool(deaths(begun.job)))  # those behind the gate are under way soon
    assert deaths(begun.job) == {0}  # what was given up for it blames nobody
    return node, name


def deaths(job: GatedJob) -> set[int]:
    """How often blocks under way are said to have killed; none where none is under way now."""
    found = set()
    for note in job.layout.local("work/attempts").iterdir():
        with suppress(FileNotFoundError):  # it has just been committed
            found.add(json.loads(note.read_bytes())["deaths"])
    return found


def test_a_node_that_joins_is_used_and_its_network_may_be_cut_for_a_while(
    nodes, network, job, calm
):
    """Kills: a new node that idles; a run that waits for blocks on a node that is silent, and one
    that takes them twice when the node is back.
    """
    begun = Run(job, nodes)
    begun.until_begun()
    node, name = join(begun, nodes)
    network.cut(node.space)
    begun.until_said(f"node {name} ({node.address}) has left the cluster")
    network.restore(node.space)
    assert begun.end() == 0, begun.errors
    assert_same(job, calm)
    nodes.kill(node)


def test_a_network_that_is_cut_for_ever_costs_time_and_nothing_else(nodes, network, job, calm):
    """Kills: whoever waits for a connection that nobody will ever close."""
    begun = Run(job, nodes)
    begun.until_begun()
    node, name = join(begun, nodes)
    network.cut(node.space)
    assert begun.end() == 0, begun.errors
    assert f"node {name} ({node.address}) has left the cluster" in begun.errors
    assert_same(job, calm)
    nodes.kill(node)


def test_a_node_that_is_drained_and_taken_away_at_its_deadline(nodes, job, calm):
    """Kills: a drain notice, as of a spot node, that ends the run or loses what is under way."""
    begun = Run(job, nodes)
    begun.until_begun()
    node, name = join(begun, nodes)
    drain(nodes, id_of(nodes, node), seconds=3)
    time.sleep(3)
    nodes.kill(node)
    assert begun.end() == 0, begun.errors
    assert f"node {name} ({node.address}) has left the cluster" in begun.errors
    assert_same(job, calm)


ASK = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
(node,) = [one for one in ray.nodes() if one["NodeManagerAddress"] == sys.argv[2]]
print(node["NodeID"])
"""


def id_of(nodes: Nodes, node: Node) -> str:
    asked = subprocess.run(
        [sys.executable, "-c", ASK, nodes.address, node.address], env={**os.environ, **TOGETHER},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return asked.stdout.strip()


def drain(nodes: Nodes, node_id: str, *, seconds: int) -> None:
    subprocess.run(
        [*RAY, "drain-node", "--address", nodes.address, "--node-id", node_id,
         "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot",
         "--deadline-remaining-seconds", str(seconds)],
        env={**os.environ, **TOGETHER}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip


HOG = """
import sys, time, numpy, ray
ray.init(address=sys.argv[1], log_to_driver=False)
@ray.remote(num_cpus=0, scheduling_strategy="SPREAD")
class Hog:
    def fill(self):
        self.held = [ray.put(numpy.zeros(12 << 20, numpy.uint8)) for _ in range(9)]
        return len(self.held)
hogs = [Hog.remote() for _ in ray.nodes()]
print(sum(ray.get([hog.fill.remote() for hog in hogs])), flush=True)
sys.stdin.read()
"""
"""108 MB in each node's object store of 80 MB: it is full, and spills."""


def test_a_full_object_store_and_a_slow_node_cost_time_and_nothing_else(nodes, job, calm):
    """Kills: blocks that fit nowhere; a node that is slow taken for dead, its blocks done twice,
    and the others waiting for it.
    """
    node = nodes.add(cpus=MOST, **{SLOWNESS: "0.4"})
    name = id_of(nodes, node)[:12]
    hog = subprocess.Popen(
        [sys.executable, "-c", HOG, nodes.address], env={**os.environ, **TOGETHER}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert int(hog.stdout.readline() or 0) >= 9, hog.stderr.read()
        begun = Run(job, nodes, gate=EVERYTHING)
        assert begun.end() == 0, begun.errors
    finally:
        hog.kill()
        hog.communicate()
    assert "begun anew" not in begun.errors
    assert_same(job, calm)
    attempts = pq.read_table(job.layout.local("metadata"))["attempts"].to_pylist()
    assert attempts == [1] * FILES
    assert 0 < worked_on(job)[name] < FILES / 2
    nodes.kill(node)


def test_a_node_that_does_not_see_the_output_takes_no_part(nodes, job, calm):
    """Kills: a node that commits into a folder of its own that is only called like OUT."""
    Path(job.out).mkdir(parents=True)
    blind = nodes.add(hidden=Path(job.out).parent)
    refused = Run(job, nodes)
    assert refused.end(FIRST) == 2, refused.errors
    assert f"({blind.address}) does not see OUT {job.out}" in refused.errors
    assert "Mount SOURCE and OUT at the same paths on every node" in refused.errors
    assert "Traceback" not in refused.errors
    assert not job.layout.committed_blocks()
    nodes.kill(blind)
    begun = Run(job, nodes)
    begun.until_begun()
    blind = nodes.add(hidden=Path(job.out).parent)
    assert begun.end(FIRST) == 1, begun.errors
    assert f"({blind.address}) does not see OUT {job.out}" in begun.errors
    assert "It joined while the run was under way" in begun.errors
    assert 0 < len(job.layout.committed_blocks()) < FILES // BLOCK
    nodes.kill(blind)
    last = Run(job, nodes, gate=EVERYTHING)
    assert last.end() == 0, last.errors
    assert_same(job, calm)
