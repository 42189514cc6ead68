"""How many processes of a cluster do which stage."""

from collections.abc import Sequence
from typing import Any

from maskmill.jobs.engines.cluster import Cluster
from maskmill.pipeline.runs.stages import Stage
from maskmill.schemas.errors import SettingsError


def holders_of(
    cluster: Cluster,
    *,
    wanted: int | None,
    gpu_share: float,
    blocks: int,
    spare_cpus: int,
    gpu_kind: str | None = None,
) -> int:
    """How many processes do the heavy stage; none that would find no block to do.

    Args:
        cluster: what there is.
        wanted: what the user asked for, None for as many as there is room for.
        gpu_share: GPUs of each, 0 for a core each.
        blocks: how many there are to do.
        spare_cpus: what is kept for the light stages.
        gpu_kind: of the GPUs that may be used; None for any.

    Raises:
        SettingsError: more than the cluster has room for, which would wait for ever.
    """
    cores = max(1, cluster.cpus - spare_cpus)
    gpus = cluster.gpus
    room = gpus.workers(gpu_share, gpu_kind) if gpu_share else cores
    untold = bool(gpu_share) and not room and gpus.at_most is None  # an autoscaler's own secret
    if wanted is not None and wanted > max(1, room) and not untold and not gpus.is_unbounded:
        has = f"{gpus.count(gpu_kind)} GPUs" if gpu_share else f"{cores} cores"
        raise SettingsError(
            f"{wanted} workers are too many: there are {has}, enough for {room}; "
            "lower --workers or --gpus-per-worker"
        )
    return min(wanted or max(1, room), max(1, blocks))


def light_processes(stage: Stage, stages: Sequence[Stage], cores: int) -> int:
    """How many processes a stage without a network has: cores are split by what stages cost."""
    whole = sum(one.cost for one in stages if not one.holds_network)
    return max(1, int(cores * stage.cost / whole))


def pool(size: int, in_flight: int = 2, calls: int = 1) -> Any:
    """A fixed number of processes, each with ``calls`` blocks at work and the others waiting.

    Fixed, so that memory does not grow by processes that Ray starts when it thinks it needs them.
    """
    from ray.data import ActorPoolStrategy

    return ActorPoolStrategy(
        size=size,
        max_tasks_in_flight_per_actor=in_flight,
        max_concurrent_calls_per_actor=calls if calls > 1 else None,
        enable_true_multi_threading=calls > 1,
    )
