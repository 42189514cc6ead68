"""The serial engine: blocks one after the other in this process, for what waits on a server.

Order is part of what such a job does (annotators get the first images first), no block computes
enough to be worth threads, and none can harm the process.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from maskmill.jobs.engines.choice import RunOptions
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.stages import Stage, Workers


class SerialEngine:
    """This process, one block at a time, in the order of their numbers."""

    elsewhere = own_processes = False
    has_gpu = False

    def ask(self, function: Callable[..., Any], *arguments: Any, on_gpu: bool = False) -> Any:
        """Call the function here."""
        return function(*arguments)

    def ask_each(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """The same, in a list."""
        return [function(*arguments)]

    def admit(self, question: Callable[[], str | None]) -> None:
        """This machine sees what it sees."""

    def blocks(
        self, stages: Sequence[Stage], pending: pa.Table, *, on_gpu: bool = False
    ) -> Iterator[list[dict[str, Any]]]:
        """Do every row of a PENDING table; after each block, its TALLY rows."""
        operators = [stage.open() for stage in stages]
        for row in range(pending.num_rows):
            table = pending.slice(row, 1)
            for operator in operators:
                table = operator(table)
            rows: list[dict[str, Any]] = table.to_pylist()
            yield rows


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialOptions(RunOptions):
    """How such a run is done: always so."""

    engine: str = "local"

    @contextmanager
    def start(self, name: str, layout: RunLayout) -> Iterator[Workers]:
        """The engine for the length of a block."""
        yield SerialEngine()
