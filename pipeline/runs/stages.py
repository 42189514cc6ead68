"""A stage of a job: what is done to a block, and what it needs while it does so."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

Operator = Callable[[pa.Table], pa.Table]
"""One-row tables in (a block each), one-row tables out; the last stage gives TALLY rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of every block. Stages follow one another; each has its own processes or threads.

    ``open`` makes the operator and is called once where the stage is at work: in each process of
    Ray's, once for all threads of this process. It travels to the workers, and what it makes does
    not. ``holds_network``: there are as many as there are workers, each with a core or its share
    of a GPU; the other stages are light and share what is left, by ``cost``: what an item takes of
    a core in this stage, in any unit that the stages of a job have in common.
    """

    name: str
    open: Callable[[], Operator]
    holds_network: bool = False
    cost: float = 1.0


@dataclass(frozen=True, slots=True)
class Opened:
    """The ``open`` of an operator that needs no opening."""

    operator: Operator

    def __call__(self) -> Operator:
        """The operator as it is."""
        return self.operator


class Workers(Protocol):
    """Whoever does the stages: threads of this process, or a Ray cluster."""

    @property
    def elsewhere(self) -> bool:
        """True where they may run on machines that do not see this one's files."""

    @property
    def own_processes(self) -> bool:
        """True where networks have processes of their own, which may be lost without the run."""

    @property
    def has_gpu(self) -> bool:
        """True where networks can and may run on GPUs."""

    def ask(self, function: Callable[..., Any], *arguments: Any, on_gpu: bool = False) -> Any:
        """Call a function where a network would run, with a GPU if so asked; its result."""

    def ask_each(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call a function wherever a network would run on a GPU, side by side; every result.

        Workers whose GPU is in use by others are left out.
        """

    def admit(self, question: Callable[[], str | None]) -> None:
        """Ask each machine that is to work, and those that come later; None is a good answer.

        Raises:
            SettingsError: naming the machines that answered otherwise, and what they said.
        """

    def blocks(
        self, stages: Sequence[Stage], pending: pa.Table, *, on_gpu: bool = False
    ) -> Iterator[list[dict[str, Any]]]:
        """Do all stages of every row of a PENDING table; after each block, its TALLY rows.

        Raises:
            RunFailed: the machine failed, or a stage hit a bug.
        """
