"""The local engine: the stages of a job in this process, by threads. No Ray is imported.

What a picture can do to a process, it does to this one: so a block that was under way when an
earlier process ended is done by a child process first, whose death this one survives and counts.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import click
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.jobs.engines.child import Child, ChildDied
from maskmill.jobs.engines.machine import local_gpus
from maskmill.jobs.engines.threads import Lanes
from maskmill.pipeline.runs.attempts import (
    BLOCK_DEATHS,
    IMAGE_DEATHS,
    all_stages_here,
    release,
    under_way,
)
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.stages import Operator, Stage
from maskmill.schemas.errors import DeviceLost, RunFailed


class LocalEngine:
    """Threads of this process: one per core for the items of a few blocks."""

    elsewhere = own_processes = False

    def __init__(self, layout: RunLayout, *, threads: int, allow_gpu: bool) -> None:
        self._layout, self._threads, self._allow_gpu = layout, threads, allow_gpu

    @property
    def has_gpu(self) -> bool:
        """True where there is one and it may be used."""
        return self._allow_gpu and local_gpus() > 0

    def ask(self, function: Callable[..., Any], *arguments: Any, on_gpu: bool = False) -> Any:
        """Call the function here."""
        return function(*arguments)

    def ask_each(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call the function here, where there is one GPU."""
        return [function(*arguments)]

    def admit(self, question: Callable[[], str | None]) -> None:
        """This machine sees what it sees."""

    def blocks(
        self, stages: Sequence[Stage], pending: pa.Table, *, on_gpu: bool = False
    ) -> Iterator[list[dict[str, Any]]]:
        """Do every row of a PENDING table; after each block, its TALLY rows."""
        suspects = under_way(self._layout, pending["block"].to_pylist())
        is_suspect = pc.is_in(pending["block"], pa.array(suspects, pa.int64()))
        yield from self._by_child(stages, pending.filter(is_suspect))
        others = pending.filter(pc.invert(is_suspect))
        if others.num_rows:
            yield from self._while_device_lasts(stages, others, on_gpu)

    def _while_device_lasts(
        self, stages: Sequence[Stage], pending: pa.Table, on_gpu: bool
    ) -> Iterator[list[dict[str, Any]]]:
        """By this process; once its GPU is lost to it, what is left is done by children."""
        done: set[int] = set()
        try:
            yield from self._by_threads(stages, pending, on_gpu, done)
        except DeviceLost as lost:
            click.echo(f"note: {lost}; a process of its own goes on", err=True)
        else:
            return
        is_done = pc.is_in(pending["block"], pa.array(done, pa.int64()))
        yield from self._by_child(stages, pending.filter(pc.invert(is_done)))

    def _by_child(
        self, stages: Sequence[Stage], pending: pa.Table
    ) -> Iterator[list[dict[str, Any]]]:
        child: Child | None = None
        try:
            for row in _one_by_one(pending):
                for _ in range(_most_deaths(row)):
                    child = child or Child(stages)
                    try:
                        tally = child.do(row)
                    except ChildDied:
                        child = None
                        continue
                    yield tally
                    break
                else:
                    raise RunFailed(f"block {row['block'][0]} ends every process that touches it")
        finally:
            if child is not None:
                child.close()

    def _by_threads(
        self, stages: Sequence[Stage], pending: pa.Table, on_gpu: bool, done: set[int]
    ) -> Iterator[list[dict[str, Any]]]:
        with _own_settings(stages):
            steps = [(stage.open(), _alone(stage, on_gpu)) for stage in stages]
            under: set[int] = set()
            lanes = Lanes(self._threads)

            def work(row: pa.Table) -> tuple[int, list[dict[str, Any]]]:
                block = row["block"][0].as_py()
                under.add(block)
                try:
                    tally = _through(steps, row)
                except DeviceLost:
                    under.discard(block)  # it may have died of it: its note stays
                    raise
                under.discard(block)
                return block, tally

            try:
                for block, tally in lanes.run(work, _one_by_one(pending)):
                    done.add(block)
                    yield tally
            finally:
                lanes.stop()
                for block in under:  # given up, not died of
                    release(self._layout, block)


def _one_by_one(pending: pa.Table) -> Iterator[pa.Table]:
    """The rows of a table; an object for each of a million blocks would be a gigabyte."""
    return (pending.slice(row, 1) for row in range(pending.num_rows))


def _through(steps: Sequence[tuple[Operator, Any]], row: pa.Table) -> list[dict[str, Any]]:
    table = row
    with all_stages_here():
        for operator, alone in steps:
            with alone:
                table = operator(table)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _alone(stage: Stage, on_gpu: bool) -> Any:
    """A GPU has one user at a time; on cores the items of several blocks share a network."""
    return threading.Lock() if stage.holds_network and on_gpu else nullcontext()


def _most_deaths(row: pa.Table) -> int:
    """After so many deaths every item of the block has been found guilty or innocent."""
    return BLOCK_DEATHS + IMAGE_DEATHS * int(row["items"][0].as_py()) + 2


def _own_settings(stages: Sequence[Stage]) -> AbstractContextManager[None]:
    """PyTorch's settings are given back as they were: the process may be somebody else's."""
    if not any(stage.holds_network for stage in stages):
        return nullcontext()
    from maskmill.pipeline.models.torch_settings import exact_settings

    return exact_settings()
