"""`finetune --address`: training on the nodes of a cluster that somebody else started."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.cluster_nodes import TOGETHER, Nodes, cluster_nodes
from tests.jobs.conftest import run_to_the_end
from tests.jobs.test_finetune_on_ray import OPTIONS, STEADY, losses_of, weights_of
from tests.made_set import write_made_set

AT = OPTIONS.index("--threads")
THREADS_LEFT_OUT = OPTIONS[:AT] + OPTIONS[AT + 2 :]
"""On a node of one core, as Ray counts them, that is one, whatever the machine has."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory) -> Iterator[Nodes]:
    """A head and a second node of one core each, which know nothing of our checkout."""
    with (
        tempfile.TemporaryDirectory(prefix="ray-") as session,  # socket names must be short
        cluster_nodes(session, tmp_path_factory.mktemp("cluster")) as cluster,
    ):
        cluster.add(cpus=1)
        yield cluster


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_made_set(tmp_path_factory.mktemp("data") / "made", 10)


@pytest.fixture(scope="module")
def local(data, tmp_path_factory) -> Path:
    """One worker in a process of its own, by small steps."""
    out = tmp_path_factory.mktemp("local") / "out"
    said = run_to_the_end("finetune", data, out, *OPTIONS, *STEADY, "--engine", "local")
    assert said.returncode == 0, said.stderr
    return out


def trained(data: Path, out: Path, nodes: Nodes, *options: object) -> str:
    """What a training on the cluster says that ends well."""
    cluster = ("--address", nodes.address, *options)
    arguments = ("finetune", data, out, *THREADS_LEFT_OUT, *STEADY, *cluster)
    result = run_to_the_end(*arguments, environment=TOGETHER, timeout=900)
    assert result.returncode == 0, result.stderr
    assert json.loads((out / "run.json").read_text())["state"] == "finished"
    assert not (out / "work" / "ray").exists()
    return result.stderr


def test_one_worker_of_a_cluster_ends_with_the_bits_of_one_in_this_process(
    data, local, nodes, tmp_path
) -> None:
    trained(data, tmp_path / "out", nodes)
    assert losses_of(tmp_path / "out") == losses_of(local)
    assert weights_of(tmp_path / "out") == weights_of(local)


def test_two_workers_on_two_nodes_have_the_losses_of_one(data, local, nodes, tmp_path) -> None:
    """A core each, so neither node has room for both."""
    out = tmp_path / "out"
    assert "2 workers with cpu" in trained(data, out, nodes, "--workers", 2)
    assert [step for step, _ in losses_of(out)] == [step for step, _ in losses_of(local)]
    wanted = [loss for _, loss in losses_of(local)]
    assert [loss for _, loss in losses_of(out)] == pytest.approx(wanted, abs=1e-3)
    assert run_to_the_end("verify", out).returncode == 0


def test_more_workers_than_the_cluster_has_room_for_are_told(data, nodes, tmp_path) -> None:
    arguments = ("finetune", data, tmp_path / "out", *OPTIONS, "--batch-size", 6, "--workers", 6)
    result = run_to_the_end(
        *arguments, "--address", nodes.address, environment=TOGETHER, timeout=600
    )
    assert result.returncode == 1
    assert "the Ray cluster has room for 2 of 6 workers, each with 1 CPU" in result.stderr
    assert "Traceback" not in result.stderr
