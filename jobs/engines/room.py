"""Room on a cluster that others use too: a busy one is told, and waited for only so long."""

import time
from collections.abc import Callable

import click

from maskmill.schemas.errors import RunFailed

PATIENCE_SECONDS = 600.0
"""How long others may keep what a run needs before it gives up; nothing is lost by that."""

_AT_ONCE_SECONDS = 5.0
"""Ray places what fits within a second or two, and starts new nodes in minutes."""

_LOOK_SECONDS = 0.5


def await_room(
    *, cpus: float, gpus: float, failure: Callable[[], str | None], patience: float | None = None
) -> None:
    """Return once a process with such a share would be placed; say what is free if not at once.

    Ray itself would wait for ever, and without a word. Where the cluster can grow, asking makes it.

    Args:
        cpus: of the process, all on one node.
        gpus: of the process, all of one GPU if less than 1.
        failure: why the cluster is dead, or None.
        patience: seconds; None for ``PATIENCE_SECONDS``.

    Raises:
        RunFailed: others kept it all for too long, or the cluster died.
    """
    from ray.util import placement_group, remove_placement_group

    patience = PATIENCE_SECONDS if patience is None else patience
    wanted = {name: share for name, share in (("CPU", cpus), ("GPU", gpus)) if share}
    started, has_said = time.monotonic(), False
    group = placement_group([wanted])
    try:
        while not group.wait(_LOOK_SECONDS):
            waited = time.monotonic() - started
            if reason := failure():
                raise RunFailed(reason)
            if waited >= min(patience, _AT_ONCE_SECONDS) and not has_said:
                click.echo(f"note: {_busy(wanted)}; waiting for up to {patience:g} s", err=True)
                has_said = True
            if waited >= patience:
                raise RunFailed(
                    f"{_busy(wanted)}, for {patience:g} s now; what is committed stays. Start the "
                    "same command when there is room, or with smaller --gpus-per-worker"
                )
    finally:
        remove_placement_group(group)


def _busy(wanted: dict[str, float]) -> str:
    """What is asked for, and what of it is free on each node at most."""
    import ray

    free, there = ray.available_resources(), ray.cluster_resources()
    parts = [f"{free.get(name, 0):g} of {there.get(name, 0):g} {name}s are free" for name in wanted]
    share = " and ".join(f"{value:g} {name}" for name, value in wanted.items())
    return f"the Ray cluster is busy: a worker needs {share} on one node, and {', '.join(parts)}"
