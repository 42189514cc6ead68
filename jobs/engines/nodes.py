"""Nodes of a joined cluster that go away or come while a run is under way.

Ray starts the processes of a lost node again where there is room, and where there is none it waits
for ever with their blocks: so what is left is begun anew with the nodes there are.
"""

import threading
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from maskmill.jobs.engines.cluster import Cluster
from maskmill.jobs.engines.gpus import count_gpus

LOOK_SECONDS: Final = 3.0
WORTH_BLOCKS: Final = 8
"""A new node is taken in where so many blocks a process are left: it costs those under way."""


class NodesChanged(Exception):
    """The cluster is another one than the work was laid out for."""


class NodeWatch:
    """Which nodes there were; tells when they are others.

    A thread asks, since a dead head lets whoever asks wait for a minute.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._known = self._now = {} if cluster.is_own else _nodes()
        self._stopped = threading.Event()
        if not cluster.is_own:
            threading.Thread(target=self._ask, daemon=True).start()

    def check(self, *, blocks_left: float) -> None:
        """Compare what there is with what there was.

        Args:
            blocks_left: of the run, for each of its processes.

        Raises:
            NodesChanged: a node is gone, or there is a new one and enough to do.
        """
        now = self._now
        lost = [title for node, title in self._known.items() if node not in now]
        if lost:
            raise NodesChanged(f"{', '.join(lost)} has left the cluster")
        new = [title for node, title in now.items() if node not in self._known]
        if new and blocks_left >= WORTH_BLOCKS:
            raise NodesChanged(f"{', '.join(new)} has joined the cluster")

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()

    def _ask(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            with suppress(Exception):  # a cluster that is gone is others' business
                self._now = _nodes()


def recounted(cluster: Cluster) -> Cluster:
    """The cluster as it is now."""
    import ray

    cpus = int(ray.cluster_resources().get("CPU", 0))
    return replace(cluster, cpus=cpus, gpus=count_gpus())


def _nodes() -> dict[str, str]:
    """Titles of the nodes that are alive, by id."""
    import ray

    return {
        node["NodeID"]: f"node {node['NodeID'][:12]} ({node['NodeManagerAddress']})"
        for node in ray.nodes()
        if node["Alive"]
    }


def remember_executor(dataset: Any) -> list[Any]:
    """A list that will hold what carries the dataset out, once it has begun."""
    executors: list[Any] = []
    create = dataset._create_executor

    def remembered() -> Any:
        executors.append(create())
        return executors[-1]

    dataset._create_executor = remembered
    return executors
