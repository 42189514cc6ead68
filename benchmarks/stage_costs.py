"""What each stage of `prelabel` costs of a core: CPU seconds per image, blocks as the engines have.

The stages are the job's own, in this process, one block after the other; a process for each core
does so at the same time, since they share caches and memory as those of a run do.
"""

import multiprocessing
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from maskmill.jobs.engines.serial import SerialEngine, SerialOptions
from maskmill.jobs.run import run
from maskmill.pipeline.prelabel.job import PrelabelJob
from maskmill.pipeline.prelabel.settings import PrelabelSettings
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.stages import Stage


class TimedEngine(SerialEngine):
    """Notes the CPU time of each stage; the first block, which finds everything cold, apart."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.images = 0

    def blocks(
        self, stages: Sequence[Stage], pending: pa.Table, *, on_gpu: bool = False
    ) -> Iterator[list[dict[str, Any]]]:
        """Every row of a PENDING table; after each block, its TALLY rows."""
        operators = [(stage.name, stage.open()) for stage in stages]
        for row in range(pending.num_rows):
            table = pending.slice(row, 1)
            for name, operator in operators:
                started = time.process_time()
                table = operator(table)
                self.seconds[name] += time.process_time() - started
            rows: list[dict[str, Any]] = table.to_pylist()
            self.images += len(rows)
            if row == 0:
                self.seconds.clear()
                self.images = 0
            yield rows


class TimedOptions(SerialOptions):
    """A run by one such engine."""

    @contextmanager
    def start(self, name: str, layout: RunLayout) -> Iterator[TimedEngine]:
        """The engine, kept for whoever asks afterwards."""
        TimedOptions.engine_used = TimedEngine()
        yield TimedOptions.engine_used

    engine_used: TimedEngine


def costs_here(source: str, out: str, block_images: int, barrier: Any, result: Any) -> None:
    """Of this process: seconds by stage and image."""
    settings = PrelabelSettings(source=source, out=out, block_images=block_images)
    barrier.wait()
    run(PrelabelJob(settings), TimedOptions())
    used = TimedOptions.engine_used
    result.put({name: seconds / used.images for name, seconds in used.seconds.items()})


def stage_costs(source: Path, work: Path, block_images: int, processes: int) -> dict[str, float]:
    """CPU seconds per image of ``load``, ``predict`` and ``save``, the mean over processes."""
    context = multiprocessing.get_context("spawn")
    barrier, result = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(
            target=costs_here,
            args=(str(source), str(work / f"costs-{number}"), block_images, barrier, result),
        )
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    found = [result.get() for _ in workers]
    for worker in workers:
        worker.join()
    return {name: statistics.mean(one[name] for one in found) for name in found[0]}
