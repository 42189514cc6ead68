"""The items of a block, one after the other or side by side, and the one that kills its worker.

Where a block is done for the first time, its items may be spread over threads (:func:`spread_over`:
the local engine does). Once it has killed its worker often, they are done one by one, each noted
before it is begun, so that the deadly one can be told from its neighbours (see attempts.py).
"""

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from maskmill.pipeline.runs.attempts import IMAGE_DEATHS, BlockAttempt

Item = TypeVar("Item")
Result = TypeVar("Result")


class Threads(Protocol):
    """What spreads calls over threads and gives their results in order."""

    def imap(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """As ``map``, side by side."""


_threads: ContextVar[Threads | None] = ContextVar("threads of this block", default=None)
_node: str = ""


@contextmanager
def spread_over(threads: Threads) -> Iterator[None]:
    """Within this block, items of one stage are worked on by these threads."""
    token = _threads.set(threads)
    try:
        yield
    finally:
        _threads.reset(token)


def spread(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``map``, by the threads of :func:`spread_over` where there are any; results in order."""
    threads = _threads.get()
    return map(function, items) if threads is None else threads.imap(function, items)


def each_item(
    attempt: BlockAttempt,
    items: Iterable[Item],
    work: Callable[[Item], Result],
    *,
    id_of: Callable[[Item], int],
    died: Callable[[Item], Result],
) -> Iterator[Result]:
    """``work`` on every item, in order; a deadly one becomes ``died(item)`` unasked."""

    def outcome(item: Item) -> Result:
        if attempt.is_deadly(id_of(item)):
            return died(item)
        attempt.mark(id_of(item))
        return work(item)

    return map(outcome, items) if attempt.one_by_one else spread(outcome, items)


def death_notice(key: str, stage: str) -> str:
    """The error message of an item that kills whatever touches it."""
    return (
        f"{key}: the worker process died {IMAGE_DEATHS} times while it worked on this one alone "
        f"(stage: {stage}); check the file and the machine's memory, then --retry-failed"
    )


def name_node(name: str) -> None:
    """Say on which node of a cluster this process runs; rows carry it."""
    global _node
    _node = name


def worker_name() -> str:
    """Node, host and process, as rows carry them: ``host:pid``, on a cluster ``node@host:pid``."""
    here = f"{socket.gethostname()}:{os.getpid()}"
    return f"{_node}@{here}" if _node else here
