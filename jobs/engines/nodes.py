"""Nodes of a joined cluster that go away or come while a run is under way.

Ray starts the processes of a lost node again where there is room, and where there is none it waits
for ever with their blocks: so what is left is begun anew with the nodes there are.
"""

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from maskmill.jobs.engines.cluster import Cluster
from maskmill.jobs.engines.gpus import count_gpus
from maskmill.schemas.errors import RunFailed, SettingsError

LOOK_SECONDS: Final = 3.0
WORTH_BLOCKS: Final = 8
"""A new node is taken in where so many blocks a process are left: it costs those under way."""


ANSWER_SECONDS: Final = 300.0
"""How long a node may take to start a process of ours and have it answer."""

Question = Callable[[], str | None]
"""Is called on a node; None, or what is wrong there as the rest of a sentence."""


class NodesChanged(Exception):
    """The cluster is another one than the work was laid out for.

    ``lost``: a node is gone, and what it did may have been what ended it.
    """

    def __init__(self, told: str, *, lost: bool) -> None:
        super().__init__(told)
        self.lost = lost


class NodeWatch:
    """Which nodes there were; tells when they are others.

    A thread asks, since a dead head lets whoever asks wait for a minute. A new node is asked the
    ``question`` before it counts as one.
    """

    def __init__(self, cluster: Cluster, question: Question | None = None) -> None:
        self._known = self._now = {} if cluster.is_own else _nodes()
        self._question, self._refused = question, ""
        self._stopped = threading.Event()
        if not cluster.is_own:
            threading.Thread(target=self._ask, daemon=True).start()

    def check(self, *, blocks_left: float) -> None:
        """Compare what there is with what there was.

        Args:
            blocks_left: of the run, for each of its processes.

        Raises:
            NodesChanged: a node is gone, or there is a new one and enough to do.
            RunFailed: a new one cannot do the work; Ray would give it some all the same.
        """
        if self._refused:
            raise RunFailed(
                f"{self._refused} It joined while the run was under way, and Ray would give it "
                "work; what is committed stays: mend it or take it away, then give the same "
                "command again"
            )
        now = self._now
        lost = [title for node, title in self._known.items() if node not in now]
        if lost:
            raise NodesChanged(f"{', '.join(lost)} has left the cluster", lost=True)
        new = [title for node, title in now.items() if node not in self._known]
        if new and blocks_left >= WORTH_BLOCKS:
            raise NodesChanged(f"{', '.join(new)} has joined the cluster", lost=False)

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()

    def _ask(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            with suppress(Exception):  # a cluster that is gone is others' business
                now = _nodes()
                new = [node for node in now if node not in self._known | self._now]
                self._now = {node: title for node, title in now.items() if node not in new}
                if new and self._question is not None:
                    self._refused = refusals(self._question, new)
                self._now = now


def recounted(cluster: Cluster) -> Cluster:
    """The cluster as it is now."""
    import ray

    cpus = int(ray.cluster_resources().get("CPU", 0))
    return replace(cluster, cpus=cpus, gpus=count_gpus())


def refuse_blind(question: Question) -> None:
    """Ask every node that offers cores or GPUs.

    Raises:
        SettingsError: naming those that cannot work, and why.
    """
    said = refusals(question)
    if said:
        raise SettingsError(
            f"{said} Mount SOURCE and OUT at the same paths on every node, or have them in a "
            "bucket, with credentials on each node; then give the same command again"
        )


def refusals(question: Question, nodes: Iterable[str] | None = None) -> str:
    """What each node says that cannot work, as sentences; empty where all can.

    Asked are those of ``nodes`` (ids; None: all) that offer cores or GPUs.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    offering = {node["NodeID"] for node in ray.nodes() if _offers_work(node)}
    titles = {node: title for node, title in _nodes().items() if node in offering}
    asked = {
        ray.remote(
            num_cpus=0,
            max_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )(_answer).remote(question): node
        for node in titles
        if nodes is None or node in nodes
    }
    ready, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)
    said = {asked[one]: f"has not answered for {ANSWER_SECONDS:g} s" for one in silent}
    for one in ready:
        with suppress(ray.exceptions.RayError):  # one that goes away is no place to work any more
            said[asked[one]] = ray.get(one)
    sentences = sorted(f"{titles[node]} {what}." for node, what in said.items() if what)
    return " ".join(sentences)


def _answer(question: Question) -> str | None:
    return question()


def nodes_at_work() -> list[dict[str, float]]:
    """What each node that offers cores or GPUs has of them, as Ray counts."""
    import ray

    return [node["Resources"] for node in ray.nodes() if _offers_work(node)]


def _offers_work(node: dict[str, Any]) -> bool:
    resources = node["Resources"]
    return bool(node["Alive"] and (resources.get("CPU", 0) > 0 or resources.get("GPU", 0) > 0))


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
