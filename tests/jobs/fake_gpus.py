"""GPUs that Ray counts and no machine has: placement, shares, refusals, others on the cluster.

Ray takes its word for them. PyTorch finds none, which is what a driver that is too old looks like.
Run in a process of its own, by test_fake_gpus.py.
"""

import json
import os
import threading
from collections import Counter

import pyarrow as pa
import pytest
import torch

from maskmill.jobs.engines import room
from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.engines.cluster import Cluster
from maskmill.jobs.engines.gpus import count_gpus
from maskmill.jobs.engines.ray import RayEngine
from maskmill.jobs.engines.watch import Watch
from maskmill.jobs.run import run
from maskmill.pipeline.prelabel.job import PrelabelJob
from maskmill.pipeline.prelabel.settings import PrelabelSettings
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.stages import Stage
from maskmill.schemas.errors import RunFailed, SettingsError
from tests.jobs.in_process import SMALL
from tests.sick_images import write_small_pictures

GPUS = {"A100": 2, "L4": 1}
"""Of each node, by their kind."""


@pytest.fixture(scope="module")
def two_nodes():
    """This process, connected to a cluster of two nodes that count three GPUs in all."""
    import ray
    from ray.cluster_utils import Cluster as Nodes

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    before = dict(os.environ)
    os.environ.update(RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0", RAY_USAGE_STATS_ENABLED="0")
    nodes = Nodes()
    try:
        for kind, gpus in GPUS.items():
            nodes.add_node(
                num_cpus=4,
                num_gpus=gpus,
                resources={f"accelerator_type:{kind}": 1},
                object_store_memory=200 << 20,
            )
        ray.init(address=nodes.address, log_to_driver=False)
        yield ray
    finally:
        ray.shutdown()
        nodes.shutdown()
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def cluster(two_nodes):
    resources = two_nodes.cluster_resources()
    with Watch(is_own=False) as watch:
        yield Cluster(cpus=int(resources["CPU"]), gpus=count_gpus(), is_own=False, watch=watch)


def where_am_i(stage_name):
    """The ``open`` of a stage that notes on its row which process it is, and what it may use."""

    def open_stage():
        def note(table):
            import ray

            context = ray.get_runtime_context()
            seen = {
                "pid": os.getpid(),
                "node": context.get_node_id(),
                "gpus": [int(number) for number in ray.get_gpu_ids()],
            }
            row = table.to_pylist()[0]
            return pa.Table.from_pylist([{**row, stage_name: seen}])

        return note

    return open_stage


def which_gpu():
    """Where a question was asked."""
    import ray

    return ray.get_runtime_context().get_node_id(), int(ray.get_gpu_ids()[0])


def three_stages():
    return [
        Stage(name=name, open=where_am_i(name), holds_network=name == "predict")
        for name in ("load", "predict", "save")
    ]


def blocks(count):
    return pa.table({"block": pa.array(range(count), pa.int64())})


def test_every_share_of_the_kind_is_asked_at_the_same_time(cluster):
    def asked(kind):
        engine = RayEngine(cluster, workers=None, gpus_per_worker=0.5, accelerator_type=kind)
        return Counter(engine.ask_each(which_gpu))

    on_large, on_small = asked("A100"), asked("L4")
    assert (sorted(on_large.values()), sorted(on_small.values())) == ([2, 2], [2])
    assert not {node for node, _ in on_large} & {node for node, _ in on_small}
    with pytest.raises(SettingsError, match=r"several kinds: A100, L4; .* --accelerator-type"):
        asked(None)
    with pytest.raises(SettingsError, match="no such GPU; there are: A100, L4"):
        asked("H100")


@pytest.mark.parametrize(
    ("share", "kind", "at_most"), [(1.0, None, 1), (0.5, "A100", 2), (0.4, None, 2)]
)
def test_workers_share_gpus_and_the_other_stages_have_none(cluster, share, kind, at_most):
    engine = RayEngine(cluster, workers=None, gpus_per_worker=share, accelerator_type=kind)
    rows = [
        row for table in engine.blocks(three_stages(), blocks(24), on_gpu=True) for row in table
    ]
    assert sorted(row["block"] for row in rows) == list(range(24))
    assert all(row["load"]["gpus"] == row["save"]["gpus"] == [] for row in rows)
    networks = {row["predict"]["pid"]: row["predict"] for row in rows}
    assert not set(networks) & {row[name]["pid"] for row in rows for name in ("load", "save")}
    assert all(len(one["gpus"]) == 1 for one in networks.values())
    on_each = Counter((one["node"], one["gpus"][0]) for one in networks.values())
    assert max(on_each.values()) <= at_most
    assert len(networks) <= (GPUS[kind] if kind else sum(GPUS.values())) * at_most
    if kind:
        assert len({one["node"] for one in networks.values()}) == 1


def meeting_stage():
    """The ``open`` of a stage whose calls wait for each other: one thread alone never gets on."""
    meeting = threading.Barrier(2)

    def meet(table):
        meeting.wait(60)
        row = table.to_pylist()[0]
        return pa.Table.from_pylist([{**row, "pid": os.getpid(), "thread": threading.get_ident()}])

    return meet


def test_a_process_with_a_gpu_unpacks_and_packs_beside_what_is_at_the_network(cluster):
    engine = RayEngine(cluster, workers=1, gpus_per_worker=1.0, accelerator_type="L4")
    stages = [Stage(name="predict", open=meeting_stage, holds_network=True)]
    rows = [row for table in engine.blocks(stages, blocks(8), on_gpu=True) for row in table]
    assert sorted(row["block"] for row in rows) == list(range(8))
    assert len({row["pid"] for row in rows}) == 1
    assert len({row["thread"] for row in rows}) > 1


def test_gpus_that_pytorch_cannot_use_are_refused_and_cores_take_their_place(
    two_nodes, tmp_path, default_weights
):
    write_small_pictures(tmp_path / "in", 4, seed=8)
    settings = PrelabelSettings(source=str(tmp_path / "in"), out=str(tmp_path / "out"), **SMALL)
    (large,) = [n["NodeID"] for n in two_nodes.nodes() if "accelerator_type:A100" in n["Resources"]]
    refusal = rf"^{large[:12]}@.* counts a GPU that PyTorch cannot use: .*per-worker 0"
    with pytest.raises(SettingsError, match=refusal):
        run(PrelabelJob(settings), RunOptions(engine="ray", accelerator_type="A100"))
    outcome = run(PrelabelJob(settings), RunOptions(engine="ray", gpus_per_worker=0))
    assert (outcome.ledger.ok, outcome.ledger.failed) == (4, 0)
    identity = json.loads(RunLayout(settings.out).read("run.json"))["identity"]
    assert identity["device"] == "cpu"
    assert "gpu" not in identity


def test_a_busy_cluster_is_told_and_waited_for_only_so_long(
    two_nodes, cluster, monkeypatch, capsys
):
    @two_nodes.remote(num_gpus=1, num_cpus=0)
    class Other:
        def is_there(self):
            return True

    def process():
        return os.getpid()

    others = [Other.remote() for _ in range(3)]
    two_nodes.get([one.is_there.remote() for one in others])
    monkeypatch.setattr(room, "PATIENCE_SECONDS", 2.0)
    engine = RayEngine(cluster, workers=None, gpus_per_worker=0.5)
    busy = "0.25 CPU and 0.5 GPU on one node, and .* 0 of 3 GPUs are free"
    with pytest.raises(RunFailed, match=busy):
        engine.ask(process, on_gpu=True)
    of_kind = RayEngine(cluster, workers=None, gpus_per_worker=0.5, accelerator_type="L4")
    with pytest.raises(RunFailed, match=r"0\.5 GPU and a L4 on one node"):
        of_kind.ask_each(process)
    assert "waiting for up to 2 s" in capsys.readouterr().err
    with pytest.raises(RunFailed, match="0 of 3 GPUs are free"):
        next(engine.blocks(three_stages(), blocks(2), on_gpu=True))
    assert engine.ask(process) != os.getpid()  # there are cores
    capsys.readouterr()
    monkeypatch.setattr(room, "PATIENCE_SECONDS", 60.0)
    two_nodes.kill(others.pop())
    assert engine.ask(process, on_gpu=True) != os.getpid()
    for one in others:
        two_nodes.kill(one)
