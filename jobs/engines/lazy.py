"""Workers that are started when they are first needed: a run that has nothing to do needs none."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from typing import Any

import pyarrow as pa

from maskmill.jobs.progress import progress_meter
from maskmill.pipeline.runs.pending import num_items
from maskmill.pipeline.runs.stages import Stage, Workers


class LazyWorkers:
    """Workers that are started when they are first needed, and ended with the run."""

    def __init__(self, start: AbstractContextManager[Workers], stack: ExitStack) -> None:
        self._start, self._stack = start, stack

    @cached_property
    def engine(self) -> Workers:
        """The workers, started."""
        return self._stack.enter_context(self._start)

    @property
    def elsewhere(self) -> bool:
        """As of the engine."""
        return self.engine.elsewhere

    @property
    def own_processes(self) -> bool:
        """As of the engine."""
        return self.engine.own_processes

    @property
    def has_gpu(self) -> bool:
        """As of the engine."""
        return self.engine.has_gpu

    def ask(self, function: Callable[..., Any], *arguments: Any, on_gpu: bool = False) -> Any:
        """As of the engine."""
        return self.engine.ask(function, *arguments, on_gpu=on_gpu)

    def ask_each(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """As of the engine."""
        return self.engine.ask_each(function, *arguments)

    def admit(self, question: Callable[[], str | None]) -> None:
        """As of the engine."""
        self.engine.admit(question)

    def blocks(
        self, stages: Sequence[Stage], pending: pa.Table, *, on_gpu: bool = False
    ) -> Iterator[list[dict[str, Any]]]:
        """As of the engine, with a progress display that has the last stage's name."""
        with progress_meter(num_items(pending), 0, stages[-1].name, "items") as meter:
            for tally in self.engine.blocks(stages, pending, on_gpu=on_gpu):
                meter.advance(len(tally), sum(bool(row["error_code"]) for row in tally))
                yield tally
