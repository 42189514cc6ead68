"""Which engine does a run: what was asked for, or the one that is done sooner."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from maskmill.jobs.engines.local import LocalEngine
from maskmill.jobs.engines.machine import local_cores, local_gpus
from maskmill.jobs.watchdog import STALL_MINUTES
from maskmill.pipeline.runs.attempts import under_way
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.pending import num_items
from maskmill.pipeline.runs.stages import Workers
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.text import count_of

ENGINES = ("auto", "local", "ray")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a run is done; nothing of it changes what comes out.

    ``workers``: processes that hold a network (or threads, locally); None: one per core or GPU.
    ``gpus_per_worker``: None: 1 where there are GPUs; 0: none, whatever there is.
    ``stall_minutes``: without a committed block for so long the run ends; 0: never.
    ``accelerator_type``: the kind of GPU of a mixed cluster, as Ray names it.
    """

    engine: str = "auto"
    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float | None = None
    accelerator_type: str | None = None
    retry_failed: bool = False
    stall_minutes: float = STALL_MINUTES

    @contextmanager
    def start(self, name: str, layout: RunLayout) -> Iterator[Workers]:
        """The engine of that name for the length of a block."""
        if name == "local":
            if self.gpus_per_worker and not local_gpus():
                raise SettingsError(
                    f"--gpus-per-worker {self.gpus_per_worker:g}: this machine has no GPU that can "
                    "be seen; leave it out to work on the cores"
                )
            threads = self.workers or local_cores()
            yield LocalEngine(layout, threads=threads, allow_gpu=self.gpus_per_worker != 0)
            return
        from maskmill.jobs.engines.cluster import cluster
        from maskmill.jobs.engines.ray import RayEngine

        with cluster(self.address) as found:
            yield RayEngine(
                found,
                workers=self.workers,
                gpus_per_worker=self.gpus_per_worker,
                accelerator_type=self.accelerator_type,
                layout=layout,
            )


def engine_notes(options: RunOptions, name: str, blocks: int) -> list[str]:
    """What the user should hear about the engine that is to do so many blocks."""
    if name == "local":
        return []
    notes, address = [], os.environ.get("RAY_ADDRESS")
    if address and not options.address:
        notes.append(f"RAY_ADDRESS={address} is left aside: --address auto joins that cluster")
    if options.workers is not None and options.workers > blocks:
        there = count_of(blocks, "block is", "blocks are")
        notes.append(
            f"--workers {options.workers} is lowered to {blocks:,}: {there} to do, and a block is "
            "done by one worker"
        )
    return notes


def choose_engine(
    options: RunOptions, layout: RunLayout, pending: pa.Table, *, local_items: int
) -> str:
    """``local`` or ``ray``.

    ``auto`` takes Ray for a cluster that was named, for more pending items than ``local_items``,
    where a process has ended while a block was under way, and for several GPUs or a kind of them.

    Raises:
        SettingsError: an engine that there is not, or a cluster for the local one.
    """
    kind = options.accelerator_type
    if kind and (options.engine == "local" or options.gpus_per_worker == 0):
        raise SettingsError(
            f"--accelerator-type {kind} names GPUs of a Ray cluster, and "
            + ("--engine local has none" if options.gpus_per_worker != 0 else "none are to be used")
        )
    if options.engine not in ENGINES:
        raise SettingsError(f"no engine {options.engine!r}; there are: {', '.join(ENGINES)}")
    if options.engine == "local" and options.address:
        raise SettingsError("--engine local runs in this process, and --address names a cluster")
    if options.engine != "auto":
        return _with_room(options, options.engine)
    large = num_items(pending) > local_items
    if options.address or kind or large or under_way(layout, pending["block"].to_pylist()):
        return "ray"
    several_gpus = local_gpus() > 1 and options.gpus_per_worker != 0
    return "ray" if several_gpus else _with_room(options, "local")


def _with_room(options: RunOptions, name: str) -> str:
    """The engine, once there is room in this process for the workers asked for."""
    if name == "local" and (options.workers or 1) > local_cores():
        raise SettingsError(
            f"{options.workers} workers are too many: there are {local_cores()} cores; lower "
            "--workers"
        )
    return name
