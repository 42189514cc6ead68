"""A cluster without a GPU that starts one for whoever asks: the test does an autoscaler's part.

Ray's own cluster for this ends every Ray process of the machine when it starts; here only the bound
is written down as Ray's autoscaler does, and a node comes once one is asked for. Run in a process
of its own, by test_fake_gpus.py.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from maskmill.jobs.engines.cluster import Cluster
from maskmill.jobs.engines.gpus import count_gpus
from maskmill.jobs.engines.ray import RayEngine
from maskmill.jobs.engines.watch import Watch
from tests.jobs.fake_gpus import which_gpu

PATIENCE = 90.0


@pytest.fixture
def nodes():
    """A cluster of one node, which has cores only; this process is connected to it."""
    import ray
    from ray.cluster_utils import Cluster as Nodes

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    before = dict(os.environ)
    os.environ.update(RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0", RAY_USAGE_STATS_ENABLED="0")
    cluster = Nodes()
    try:
        cluster.add_node(num_cpus=2, num_gpus=0, object_store_memory=200 << 20)
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


def write_bound(gpus: int) -> None:
    """What an autoscaler tells of the nodes it may start."""
    from ray import _raylet
    from ray.core.generated.autoscaler_pb2 import ClusterConfig
    from ray.experimental import internal_kv

    config = ClusterConfig()
    group = config.node_group_configs.add()
    group.name, group.max_count = "with a GPU", gpus
    group.resources["GPU"] = 1
    internal_kv._internal_kv_put(
        _raylet.GCS_AUTOSCALER_CLUSTER_CONFIG_KEY.encode(),
        config.SerializeToString(),
        namespace=_raylet.GCS_AUTOSCALER_STATE_NAMESPACE.encode(),
    )


def add_node_when_asked(nodes) -> None:
    """Start a node with a GPU once one is waited for."""
    from ray.util import placement_group_table

    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        asked = [one for one in placement_group_table().values() if one["state"] == "PENDING"]
        if any("GPU" in bundle for one in asked for bundle in one["bundles"].values()):
            nodes.add_node(num_cpus=2, num_gpus=1, object_store_memory=200 << 20)
            return
        time.sleep(0.1)


def test_gpus_that_are_not_there_yet_are_asked_for(nodes):
    import ray

    with Watch(is_own=False) as watch:

        def engine() -> RayEngine:
            cluster = Cluster(cpus=2, gpus=count_gpus(), is_own=False, watch=watch)
            return RayEngine(cluster, workers=None, gpus_per_worker=None)

        assert not engine().has_gpu
        write_bound(2)
        growing = engine()
        assert (count_gpus().count(), count_gpus().at_most) == (0, 2)
        assert growing.has_gpu
        with ThreadPoolExecutor(1) as asking:  # nodes want to be started by the main thread
            asked = asking.submit(growing.ask_each, which_gpu)
            add_node_when_asked(nodes)
            (answer, *_) = asked.result(PATIENCE)
    first = ray.get_runtime_context().get_node_id()
    assert answer[0] != first
    assert count_gpus().count() == 1
