"""A process of Ray's that does one stage, or several, block after block."""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from multiprocessing.pool import ThreadPool
from typing import Any

import pyarrow as pa

from maskmill.jobs.engines.machine import local_gpus
from maskmill.pipeline.runs.attempts import all_stages_here
from maskmill.pipeline.runs.isolation import name_node, spread_over
from maskmill.pipeline.runs.stages import Stage
from maskmill.pipeline.storage.retries import RETRIES
from maskmill.schemas.errors import DeviceLost

STORAGE_THREADS = 4
"""Items of a block that a process reads or writes at once."""

EXIT_DEVICE_LOST = 70

_RETRIES = b"retries"


class StageProcess:
    """One process of a stage, or of several: opened once, then called with block after block.

    Stages without a network spread the items of a block over a few threads, which wait for storage
    side by side. Where a process has a GPU several threads call it at once: the stage itself sees
    to it that only one is at the network.
    """

    def __init__(self, stages: Sequence[Stage], gpu_share: float = 0.0) -> None:
        _name_this_node()
        # without a GPU a process does every stage of its blocks
        self._through = nullcontext if gpu_share else all_stages_here
        if any(stage.holds_network for stage in stages):
            _bound_memory(gpu_share)
        threads = ThreadPool(STORAGE_THREADS)
        self._steps = [(stage.open(), None if stage.holds_network else threads) for stage in stages]
        self._telling, self._told = threading.Lock(), RETRIES.retries

    def __call__(self, table: pa.Table) -> pa.Table:
        """One block through the stages; the table tells how often storage was asked again."""
        retries = retries_of(table)
        with self._through(), ended_without_device():
            for operator, threads in self._steps:
                with spread_over(threads) if threads else nullcontext():
                    table = operator(table)
        return table.replace_schema_metadata({_RETRIES: str(retries + self._not_yet_told())})

    def _not_yet_told(self) -> int:
        """How often storage was asked again; calls side by side tell each time once."""
        with self._telling:
            now = RETRIES.retries
            before, self._told = self._told, now
        return now - before


def retries_of(table: pa.Table) -> int:
    """How often storage was asked again for the block of a table that a process gave."""
    return int((table.schema.metadata or {}).get(_RETRIES, 0))


@contextmanager
def ended_without_device() -> Iterator[None]:
    """A process whose GPU is lost to it ends, as one does that a picture has killed.

    So it is started anew, and the picture that did it is told from its neighbours; see
    pipeline/runs/attempts.py.
    """
    try:
        yield
    except DeviceLost as lost:
        print(f"maskmill: {lost}; this process ends", file=sys.stderr, flush=True)
        os._exit(EXIT_DEVICE_LOST)


def with_share_of_gpu(share: float, function: Callable[..., Any], *arguments: Any) -> Any:
    """A call in a process that has such a share, bounded as the run's own will be."""
    _name_this_node()
    _bound_memory(share)
    return function(*arguments)


def _name_this_node() -> None:
    """Rows and refusals carry it."""
    import ray

    name_node(ray.get_runtime_context().get_node_id()[:12])


def _bound_memory(gpu_share: float) -> None:
    if 0 < gpu_share < 1 and local_gpus():  # PyTorch is long in coming: not for nothing
        from maskmill.pipeline.models.torch_settings import keep_to_share_of_gpu

        keep_to_share_of_gpu(gpu_share)
