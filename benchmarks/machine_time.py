"""Whose the machine's time was, by /proc: a run's processes, the engine's own, and all others'."""

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from processes import descendants

SAMPLE_SECONDS = 0.5
_TICK = os.sysconf("SC_CLK_TCK")
_WORKER = "ray::"
"""What Ray calls the processes that do our stages."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Seconds of cores between two moments, all since some moment before."""

    workers: float
    engine: float
    busy: float  # of the machine, whoever it was


class MachineTime:
    """Looks at the processes below this one, and at the machine's cores, until told to stop."""

    def __init__(self) -> None:
        self._looks: list[tuple[float, Spent]] = []
        self._of: dict[int, tuple[float, bool]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    def between(self, start: float, end: float) -> Spent:
        """What was spent from one time.time() to another, by the looks that are nearest."""
        first, last = (
            min(self._looks, key=lambda look: abs(look[0] - moment))[1] for moment in (start, end)
        )
        return Spent(
            workers=last.workers - first.workers,
            engine=last.engine - first.engine,
            busy=last.busy - first.busy,
        )

    def _look(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            for pid, name in descendants(os.getpid()).items():
                seconds = _seconds_of(pid)
                if seconds is not None:  # one that has ended keeps what it had
                    self._of[pid] = (seconds, name.startswith(_WORKER))
            totals = dict.fromkeys((True, False), 0.0)
            for seconds, is_worker in self._of.values():
                totals[is_worker] += seconds
            spent = Spent(workers=totals[True], engine=totals[False], busy=_busy_seconds())
            self._looks.append((time.time(), spent))


def _seconds_of(pid: int) -> float | None:
    try:
        fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICK


def _busy_seconds() -> float:
    """Of the cores that this process may use: all but idle and waiting for disks."""
    ours = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    rows = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    counts = [[int(one) for one in row[1:9]] for row in rows if row and row[0] in ours]
    return sum(sum(row) - row[3] - row[4] for row in counts) / _TICK
