"""The GPUs of a Ray cluster: how many of which kind, and how many more it could start."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maskmill.schemas.errors import SettingsError

KIND_PREFIX = "accelerator_type:"
"""Ray gives each node a resource of this name and the kind of its GPUs, as NVIDIA's H100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """``by_node``: GPUs of each node that has any, with their kind ("" where Ray knows none).

    ``at_most``: how many the cluster may grow to, by its autoscaler's word; None where it has none
    that says so. ``cpus_by_node``: cores of the same nodes.
    """

    by_node: tuple[tuple[int, str], ...] = ()
    at_most: float | None = None
    cpus_by_node: tuple[float, ...] = ()

    def count(self, kind: str | None = None) -> int:
        """How many there are, of one kind or of any."""
        return sum(number for number, one in self.by_node if kind in (None, one))

    @property
    def kinds(self) -> list[str]:
        """What kinds there are, as far as Ray knows them."""
        return sorted({kind for _, kind in self.by_node} - {""})

    @property
    def may_grow(self) -> bool:
        """Whether the cluster says that it can start more than there are."""
        return self.at_most is not None and self.at_most > self.count()

    @property
    def is_unbounded(self) -> bool:
        """Whether it may grow, and nobody knows how far."""
        return self.at_most == sys.maxsize

    def check(self, kind: str | None) -> None:
        """Refuse a kind that is not there, and a choice that was not made.

        Raises:
            SettingsError: naming the kinds that there are.
        """
        listed = ", ".join(self.kinds) or "none that Ray knows by name"
        if kind is not None and kind not in self.kinds and not self.may_grow:
            raise SettingsError(
                f"--accelerator-type {kind}: the cluster has no such GPU; there are: {listed}"
            )
        if kind is None and len(self.kinds) > 1:
            raise SettingsError(
                f"the cluster's GPUs are of several kinds: {listed}; a run keeps to one, as other "
                "kernels add in another order: name it with --accelerator-type"
            )

    def workers(self, share: float, kind: str | None = None) -> int:
        """How many workers have room: a share lies on one GPU, so two hold four of 0.4, not five.

        Those of an autoscaler that names no bound are not counted.
        """
        there = self.count(kind)
        bounded = self.may_grow and not self.is_unbounded
        gpus = max(there, int(self.at_most or 0)) if bounded and kind is None else there
        return max(gpus, 1 if self.may_grow else 0) * int(1 / share + 1e-9)

    def cpus_of_worker(self, share: float) -> float:
        """What each worker keeps of its node's cores: one, or half of them shared where few are.

        It launches kernels all the time, and must not be placed where it would wait for a core.
        """
        slots = int(1 / share + 1e-9)
        nodes = zip(self.by_node, self.cpus_by_node, strict=False)
        halves = (cpus / (2 * gpus * slots) for (gpus, _), cpus in nodes if gpus)
        return max(0.01, int(min([1.0, *halves]) * 100) / 100)


def count_gpus() -> Gpus:
    """The GPUs of the cluster that this process is connected to."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    with_gpus = [node for node in nodes if node.get("GPU", 0) > 0]
    return Gpus(
        by_node=tuple((int(node["GPU"]), _kind(node)) for node in with_gpus),
        cpus_by_node=tuple(float(node.get("CPU", 0)) for node in with_gpus),
        at_most=_bound(),
    )


def _kind(resources: Mapping[str, Any]) -> str:
    found = [name.removeprefix(KIND_PREFIX) for name in resources if name.startswith(KIND_PREFIX)]
    return found[0] if found else ""


def _bound() -> float | None:
    """What the autoscaler may start, where there is one that has written it down (Ray's second)."""
    import ray

    most = ray._private.state.state.get_max_resources_from_cluster_config()
    return None if most is None else float(most.get("GPU", 0))
