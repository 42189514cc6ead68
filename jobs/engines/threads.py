"""Threads that end with their run: blocks side by side, and the items of each spread over cores."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.pool import ThreadPool
from typing import Any

from maskmill.pipeline.runs.isolation import spread_over

LANES = 2
"""Blocks under way at once: while the last items of one are worked on, the next one has begun."""

STOP_SECONDS = 3.0


class Abandoned(Exception):
    """Raised in a thread whose run has been given up."""


class Lanes:
    """A few threads, each doing one block after the other; the items of all share a pool.

    All threads are daemons: one that is deep in native code never keeps the process alive.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPool(threads)
        self._stopped = threading.Event()
        self._lanes: list[threading.Thread] = []

    def imap(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """``map`` over the pool, results in order; see pipeline/runs/isolation.py."""

        def unless_stopped(item: Any) -> Any:
            if self._stopped.is_set():
                raise Abandoned
            return function(item)

        return self._pool.imap(unless_stopped, items)

    def run(self, work: Callable[[Any], Any], blocks: Iterable[Any]) -> Iterator[Any]:
        """``work(block)`` for every block, as they are done.

        Raises:
            Exception: what ``work`` raised, as it was raised.
        """
        waiting, results = iter(blocks), queue.SimpleQueue[tuple[str, Any]]()
        lock = threading.Lock()

        def lane() -> None:
            try:
                with spread_over(self):
                    while not self._stopped.is_set():
                        with lock:
                            block = next(waiting, None)
                        if block is None:
                            break
                        results.put(("done", work(block)))
            except BaseException as error:
                results.put(("failed", error))
            finally:
                results.put(("ended", None))

        self._lanes = [threading.Thread(target=lane, daemon=True) for _ in range(LANES)]
        for thread in self._lanes:
            thread.start()
        running = LANES
        while running:
            kind, value = results.get()
            if kind == "failed":
                raise value
            if kind == "done":
                yield value
            else:
                running -= 1

    def stop(self) -> None:
        """Let go: items that have not begun are left out, those under way get a few seconds."""
        self._stopped.set()
        for thread in self._lanes:
            thread.join(STOP_SECONDS / LANES)
        self._pool.terminate()
