"""Which GPUs of a cluster a run takes, how many workers they hold, and what is refused."""

import os
import sys
from types import SimpleNamespace

import pytest

from maskmill.jobs.engines import machine
from maskmill.jobs.engines.choice import RunOptions, choose_engine
from maskmill.jobs.engines.cluster import Cluster
from maskmill.jobs.engines.gpus import Gpus
from maskmill.jobs.engines.placement import holders_of, light_processes
from maskmill.jobs.engines.ray import RayEngine
from maskmill.jobs.engines.watch import Watch
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.stages import Stage
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.tables.blocks import PENDING

MIXED = Gpus(by_node=((4, "A100"), (2, "L4"), (4, "A100")), cpus_by_node=(64, 4, 64))


def cluster_of(gpus: Gpus, *, is_own: bool = False) -> Cluster:
    return Cluster(cpus=32, gpus=gpus, is_own=is_own, watch=Watch(is_own=is_own))


def engine_of(gpus: Gpus, *, is_own: bool = False, share: float | None = None) -> RayEngine:
    return RayEngine(cluster_of(gpus, is_own=is_own), workers=None, gpus_per_worker=share)


def holders(gpus: Gpus, wanted: int | None = None, share: float = 1.0, kind: str | None = None):
    return holders_of(
        cluster_of(gpus), wanted=wanted, gpu_share=share, gpu_kind=kind, blocks=1000, spare_cpus=2
    )


def test_a_mixed_cluster_is_not_chosen_from_by_chance():
    with pytest.raises(SettingsError, match=r"several kinds: A100, L4; .* --accelerator-type"):
        MIXED.check(None)
    with pytest.raises(SettingsError, match="no such GPU; there are: A100, L4"):
        MIXED.check("H100")
    MIXED.check("L4")
    Gpus(by_node=((4, "A100"), (4, ""))).check(None)  # Ray does not know every kind


def test_only_gpus_of_the_kind_are_counted():
    assert [holders(MIXED, kind=kind) for kind in ("A100", "L4")] == [8, 2]
    assert holders(MIXED, share=0.4, kind="L4") == 4
    with pytest.raises(SettingsError, match="there are 2 GPUs, enough for 2"):
        holders(MIXED, wanted=3, kind="L4")


def test_a_cluster_that_starts_gpus_when_asked_is_no_cluster_of_cores():
    assert not engine_of(Gpus()).has_gpu
    assert not engine_of(Gpus(at_most=0)).has_gpu
    assert engine_of(Gpus(at_most=8)).has_gpu
    assert not engine_of(Gpus(at_most=8), share=0).has_gpu
    assert engine_of(Gpus(), share=1).has_gpu  # an autoscaler that tells nobody of itself


def test_workers_are_counted_by_what_an_autoscaler_may_start():
    assert holders(Gpus(at_most=8), share=0.5) == 16
    assert holders(Gpus(by_node=((2, ""),), at_most=8)) == 8
    unbounded = Gpus(by_node=((2, ""),), at_most=sys.maxsize)
    assert (holders(unbounded), holders(unbounded, wanted=50)) == (2, 50)
    assert (holders(Gpus()), holders(Gpus(), wanted=50)) == (1, 50)
    with pytest.raises(SettingsError, match="enough for 8"):
        holders(Gpus(at_most=8), wanted=9)


def test_a_share_of_no_gpu_is_refused_not_done_by_cores(tmp_path):
    with pytest.raises(SettingsError, match="Ray counts no GPU on this machine"):
        engine_of(Gpus(), is_own=True, share=0.5)
    options = RunOptions(gpus_per_worker=1)
    with (
        pytest.raises(SettingsError, match="this machine has no GPU that can be seen"),
        options.start("local", RunLayout(str(tmp_path))),
    ):
        pytest.skip("this machine has a GPU")


def test_a_kind_of_gpu_means_a_cluster(tmp_path):
    def chosen(**options: object) -> str:
        told = RunOptions(accelerator_type="A100", **options)
        return choose_engine(told, RunLayout(str(tmp_path)), PENDING.empty_table(), local_items=9)

    assert chosen() == "ray"
    with pytest.raises(SettingsError, match="--engine local has none"):
        chosen(engine="local")
    with pytest.raises(SettingsError, match="none are to be used"):
        chosen(gpus_per_worker=0)


@pytest.mark.parametrize(
    ("gpus", "share", "cpus"),
    [(MIXED, 1.0, 1.0), (MIXED, 0.25, 0.25), (Gpus(by_node=((1, ""),), cpus_by_node=(2,)), 1, 1.0)],
)
def test_a_worker_has_a_core_of_its_own_where_there_are_enough(gpus, share, cpus):
    """The others get no less than half of any node."""
    assert gpus.cpus_of_worker(share) == cpus


def test_the_object_store_grows_with_the_machine_where_it_has_gpus(monkeypatch):
    monkeypatch.setattr(machine, "local_gpus", lambda: 0)
    assert machine.object_store_bytes() == 1 << 30
    monkeypatch.setattr(machine, "local_gpus", lambda: 8)
    monkeypatch.setattr(machine, "local_memory", lambda: 1 << 40)
    usage = SimpleNamespace(free=1 << 38)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage)
    assert machine.object_store_bytes() == int(0.9 * (1 << 38))
    usage.free = 1 << 40
    assert machine.object_store_bytes() == int(0.3 * (1 << 40))
    usage.free = 64 << 20  # as in a container that was given none
    assert machine.object_store_bytes() == 1 << 30


def test_memory_is_no_more_than_the_machine_has():
    assert 0 < machine.local_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_what_is_left_is_split_between_loading_and_saving_by_their_cost():
    stages = [
        Stage(name="load", open=dict, cost=2.5),
        Stage(name="predict", open=dict, holds_network=True),
        Stage(name="save", open=dict, cost=4.0),
    ]
    load, _, save = stages
    assert [light_processes(one, stages, 182) for one in (load, save)] == [70, 112]
    assert [light_processes(one, stages, 0) for one in (load, save)] == [1, 1]
