"""Nodes of a running cluster that go away in the middle of a run."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.cluster_nodes import TOGETHER, Nodes, cluster_nodes
from tests.jobs.conftest import command_line
from tests.jobs.in_process import run_in_process
from tests.jobs.test_kills import files_of
from tests.sick_images import write_small_pictures

pytestmark = pytest.mark.slow


@pytest.fixture
def nodes(tmp_path) -> Iterator[Nodes]:
    with (
        tempfile.TemporaryDirectory(prefix="ray-") as session,  # socket names must be short
        cluster_nodes(session, tmp_path) as cluster,
    ):
        yield cluster


def prelabel(source: Path, out: Path, nodes: Nodes) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command_line(
            "prelabel", source, out, "--address", nodes.address, "--model",
            "deeplabv3_mobilenet_v3_large", "--untrained", "--image-size", 257, "--precision",
            "fp32", "--block-images", 4,
        ),
        env={**os.environ, **TOGETHER}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def begun(source: Path, out: Path, nodes: Nodes) -> subprocess.Popen[str]:
    """A run on the cluster; it has committed something, and has not ended."""
    run = prelabel(source, out, nodes)
    deadline = time.monotonic() + 120
    while not list(out.glob("metadata/*.parquet")):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return run


def verify(out: Path) -> None:
    """Rows are files are documents are inputs, says the command."""
    done = subprocess.run(
        command_line("verify", out, "--inputs"), capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def calm(tmp_path):
    """Pictures, and an undisturbed run over them."""
    source = tmp_path / "photos"
    write_small_pictures(source, 160, seed=11)
    return source, run_in_process(source, tmp_path / "calm", image_size=257)


def test_a_killed_worker_node_costs_time_and_nothing_else(tmp_path, calm, nodes):
    """Kills: whoever waits for the blocks of a machine that has lost its power."""
    source, layout = calm
    first, _ = nodes.add(), nodes.add()
    run = begun(source, tmp_path / "out", nodes)
    nodes.kill(first)
    out, errors = run.communicate(timeout=250)
    assert run.returncode == 0, errors + out
    assert files_of(tmp_path / "out") == files_of(Path(layout.root))
    verify(tmp_path / "out")


def test_a_killed_head_ends_the_run_with_a_sentence_and_the_restarted_one_goes_on(
    tmp_path, calm, nodes
):
    """Kills: a driver that asks a dead head for ever, a traceback, an OUT that nobody continues."""
    source, layout = calm
    worker = nodes.add()
    run = begun(source, tmp_path / "out", nodes)
    nodes.kill(nodes.head)
    _, errors = run.communicate(timeout=120)
    assert run.returncode == 1
    assert "the head of the Ray cluster at " in errors
    assert "does not answer" in errors
    assert "Traceback" not in errors
    nodes.kill(worker)  # Ray starts no head at an address that a process of the machine names
    nodes.start_head()
    nodes.add()
    run = prelabel(source, tmp_path / "out", nodes)
    out, errors = run.communicate(timeout=250)
    assert run.returncode == 0, errors + out
    assert files_of(tmp_path / "out") == files_of(Path(layout.root))
    verify(tmp_path / "out")
