"""How far Ray Data runs ahead, and what it keeps of blocks that are done.

Left alone it holds every block that a stage has given and the next has not taken, as long as their
bytes fit into the object store, and of blocks of a few hundred bytes a million do; and it keeps
statistics of every block there ever was. Ours are of no use to it: a row here is a block of a run.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

QUEUED_BLOCKS: Final = 1024
"""Between two stages; more than any number of processes takes before the next ones have come."""

_POLICIES: Final = "backpressure_policies.enabled"


class BoundedBacklog:
    """A policy of Ray Data's, to stand beside its own; asked of each stage again and again."""

    name = "BoundedBacklog"

    def __init__(self, context: Any, topology: Mapping[Any, Any], resources: Any) -> None:
        self._topology = topology

    def can_add_input(self, stage: Any) -> bool:
        """Never our business: what is there may be worked on."""
        return True

    def max_task_output_bytes_to_read(self, stage: Any) -> int | None:
        """How much of what the stage has ready is taken now: nothing where enough waits already."""
        for kept in stage.get_stats().values():
            kept.clear()
        waiting = self._topology[stage].total_enqueued_output_blocks()
        return 0 if waiting >= QUEUED_BLOCKS else None


@contextmanager
def bounded_backlog(context: Any) -> Iterator[None]:
    """For the length of a block, data sets that are begun with this DataContext are bounded.

    The list of policies is no public part of Ray: where a version has none, memory grows as it did.
    """
    try:
        from ray.data._internal.execution.backpressure_policy import ENABLED_BACKPRESSURE_POLICIES
    except ImportError:
        yield
        return
    before = context.get_config(_POLICIES)
    known = ENABLED_BACKPRESSURE_POLICIES if before is None else before
    context.set_config(_POLICIES, [*known, BoundedBacklog])
    try:
        yield
    finally:
        context.remove_config(_POLICIES)
        if before is not None:
            context.set_config(_POLICIES, before)
