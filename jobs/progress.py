"""How far a run is: done of all, rate, time left, failures so far. On stderr, never stdout."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from maskmill.pipeline.storage.retries import RETRIES

LINE_SECONDS = 10.0


class ProgressMeter:
    """Counts items; draws a bar on a terminal and prints a line now and then elsewhere."""

    def __init__(self, total: int, done: int, what: str, noun: str) -> None:
        self._total, self._what, self._noun = total, what, noun
        self._done, self._failed = done, 0
        self._first: float | None = None
        self._first_done = done
        self._last_line = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn(what),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[figures]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(
                what, total=total, completed=done, figures="starting workers"
            )
            self._bar.start()

    def advance(self, done: int, failed: int) -> None:
        """``done`` more items have a committed row, ``failed`` of them a failed one."""
        self._done += done
        self._failed += failed
        if self._first is None:  # start-up is not part of the rate
            self._first, self._first_done = time.monotonic(), self._done
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, figures=self.figures())
        elif time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            sys.stderr.write(f"{self._what}: {self._done:,} of {self._total:,}, {self.figures()}\n")

    @property
    def rate(self) -> float:
        """Items per second since the first committed block; 0.0 until there are two."""
        elapsed = time.monotonic() - self._first if self._first is not None else 0.0
        return (self._done - self._first_done) / elapsed if elapsed > 0 else 0.0

    def figures(self) -> str:
        """Rate, time left and failures in words."""
        pace = "measuring the rate"
        if self.rate:
            left = _clock((self._total - self._done) / self.rate)
            pace = f"{self.rate:.1f} {self._noun}/s, {left} left"
        storage = RETRIES.sentence()
        return f"{pace}, {self._failed} failed" + (f", {storage}" if storage else "")

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def progress_meter(total: int, done: int, what: str, noun: str) -> Iterator[ProgressMeter]:
    """A meter that is put away however the work ends; ``noun`` is what it counts."""
    meter = ProgressMeter(total, done, what, noun)
    try:
        yield meter
    finally:
        meter.stop()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
