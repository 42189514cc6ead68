"""Room on a cluster that others use too: a busy one is told, and waited for only so long."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from maskmill.jobs.engines.gpus import KIND_PREFIX
from maskmill.schemas.errors import RunFailed

PATIENCE_SECONDS = 600.0
"""How long others may keep what a run needs before it gives up; nothing is lost by that."""

_AT_ONCE_SECONDS = 5.0
"""Ray places what fits within a second or two, and starts new nodes in minutes."""

_LOOK_SECONDS = 0.5


@contextmanager
def rooms(
    wanted: Mapping[str, float],
    *,
    count: int = 1,
    failure: Callable[[], str | None],
    patience: float | None = None,
) -> Iterator[list[Any]]:
    """Room for up to ``count`` processes side by side, kept for the length of a block.

    The first is waited for, and what is free is said if it does not come at once: Ray itself would
    wait for ever, and without a word. Where the cluster can grow, asking makes it. The others are
    given a few seconds: what others use is not waited for.

    Args:
        wanted: resources of one process, all on one node (and all of one GPU if less than 1).
        count: how many processes.
        failure: why the cluster is dead, or None.
        patience: seconds; None for ``PATIENCE_SECONDS``.

    Yields:
        Placement groups of one bundle each, at least one.

    Raises:
        RunFailed: others kept it all for too long, or the cluster died.
    """
    from ray.util import placement_group, remove_placement_group

    groups = [placement_group([dict(wanted)]) for _ in range(count)]
    try:
        _await_one(groups, wanted, failure, PATIENCE_SECONDS if patience is None else patience)
        end = time.monotonic() + _AT_ONCE_SECONDS
        yield [group for group in groups if group.wait(max(0.0, end - time.monotonic()))]
    finally:
        for group in groups:
            remove_placement_group(group)


def _await_one(
    groups: Sequence[Any],
    wanted: Mapping[str, float],
    failure: Callable[[], str | None],
    patience: float,
) -> None:
    started, has_said = time.monotonic(), False
    while not any(group.wait(_LOOK_SECONDS / len(groups)) for group in groups):
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


def _busy(wanted: Mapping[str, float]) -> str:
    """What is asked for, and what of it is free on each node at most."""
    import ray

    free, there = ray.available_resources(), ray.cluster_resources()
    parts = [
        f"{free.get(name, 0):g} of {there.get(name, 0):g} {name}s are free"
        for name in wanted
        if not name.startswith(KIND_PREFIX)
    ]
    each = " and ".join(
        name.replace(KIND_PREFIX, "a ") if name.startswith(KIND_PREFIX) else f"{value:g} {name}"
        for name, value in wanted.items()
    )
    return f"the Ray cluster is busy: a worker needs {each} on one node, and {', '.join(parts)}"
