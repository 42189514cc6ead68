"""One `prelabel` run watched from outside: rate in steady state, start-up, memory."""

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from processes import anonymous_bytes, descendants, proportional_set_sizes

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_SECONDS = 2.0


@dataclass(frozen=True)
class WatchedRun:
    """Seconds are wall time; sizes are bytes of PSS, the object store's shared memory apart.

    The driver's own are what it has allocated itself. ``steady``: from which time.time() to which
    the steady rate was.
    """

    images: int
    seconds: float
    first_row_seconds: float
    steady_rate: float
    peak_bytes: int
    driver_peak_bytes: int
    steady: tuple[float, float] = (0.0, 0.0)


def watch_prelabel(
    source: Path, out: Path, *options: object, block_images: int = 32, memory: bool = False
) -> WatchedRun:
    """Run the command to its end; raises where it does not end with 0.

    Memory is sampled only when asked for: the kernel walks every page of every process for it,
    which takes a twentieth of the machine.
    """
    started = time.time()
    process = subprocess.Popen(
        [sys.executable, "-m", "maskmill", "prelabel", str(source), str(out), *map(str, options)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    peaks = _Peaks(process.pid) if memory else None
    if process.wait():
        raise RuntimeError(f"prelabel ended with {process.returncode}")
    if peaks is not None:
        peaks.stop()
    times = sorted(path.stat().st_mtime for path in (out / "metadata").iterdir())
    images = len(list((out / "masks").rglob("*.png")))
    return WatchedRun(
        images,
        time.time() - started,
        times[0] - started,
        _steady_rate(times, block_images),
        peaks.total if peaks else 0,
        peaks.driver if peaks else 0,
        _steady(times),
    )


def peak_memory(command: list[str], every_seconds: float = 0.3) -> tuple[int, int]:
    """Peak bytes of PSS of a command with all below it, and of what it allocated itself."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    peaks = _Peaks(process.pid, every_seconds)
    code = process.wait()
    peaks.stop()
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with {code}")
    return peaks.total, peaks.driver


def _steady_rate(times: list[float], block_images: int) -> float:
    """Images per second between the commits at a tenth and nine tenths of the run."""
    start, end = _steady(times)
    return (times.index(end) - times.index(start)) * block_images / (end - start)


def _steady(times: list[float]) -> tuple[float, float]:
    return times[len(times) // 10], times[len(times) - 1 - len(times) // 10]


class _Peaks:
    """Samples the memory of a process and all below it until told to stop."""

    def __init__(self, pid: int, every_seconds: float = SAMPLE_SECONDS) -> None:
        self.total = self.driver = 0
        self._pid = pid
        self._every_seconds = every_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(self._every_seconds):
            sizes = proportional_set_sizes([self._pid, *descendants(self._pid)])
            self.total = max(self.total, sum(sizes.values()))
            self.driver = max(self.driver, anonymous_bytes(self._pid))
