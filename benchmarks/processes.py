"""Looking at the processes a run started, through /proc."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path


def descendants(root: int) -> dict[int, str]:
    """Process ids below ``root`` and how they call themselves."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
            names[int(folder.name)] = (folder / "cmdline").read_bytes().decode().split("\0")[0]
        except OSError:
            continue
        parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found: dict[int, str] = {}
    waiting = [root]
    while waiting:
        parent = waiting.pop()
        for pid in [pid for pid, above in parents.items() if above == parent and pid not in found]:
            found[pid] = names.get(pid, "")
            waiting.append(pid)
    return found


class CpuMeter:
    """Seconds of cores that all processes below this one have had, while it is entered.

    Sampled: Ray's raylet does not wait for its workers, so what one had is nobody's once it ends.
    """

    EVERY = 1.0  # seconds; what a process has after its last sample is missed

    def __init__(self) -> None:
        self._ticks: dict[int, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "CpuMeter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """Of all of them together."""
        return sum(self._ticks.values()) / os.sysconf("SC_CLK_TCK")

    def _watch(self) -> None:
        while not self._ended.is_set():
            for pid in descendants(os.getpid()):
                with suppress(OSError):
                    stat = (Path("/proc") / str(pid) / "stat").read_text()
                    self._ticks[pid] = sum(map(int, stat.rpartition(")")[2].split()[11:13]))
            self._ended.wait(self.EVERY)


def peak_bytes() -> int:
    """The most memory (RSS, mapped files with it) that this process ever had.

    The kernel's own mark, which begins anew with each program; ``ru_maxrss`` keeps a parent's.
    """
    lines = (Path("/proc") / "self" / "status").read_text().splitlines()
    (mark,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(mark) * 1024


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids: dict[int, str], seconds: float) -> bool:
    """True once none of the processes runs any more."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(is_alive(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def proportional_set_sizes(pids: list[int]) -> dict[int, int]:
    """PSS in bytes per process, without the object store's shared memory."""
    rollups = {pid: memory_rollup(pid) for pid in pids}
    return {pid: sizes["Pss"] - sizes["Pss_Shmem"] for pid, sizes in rollups.items() if sizes}


def anonymous_bytes(pid: int) -> int:
    """What a process has allocated itself.

    Beside it, a process's share of common libraries jumps up when those it shares them with end.
    """
    return memory_rollup(pid).get("Pss_Anon", 0)


def memory_rollup(pid: int) -> dict[str, int]:
    """The kernel's own sums over a process's memory, in bytes by name; empty once it has ended."""
    try:
        rollup = (Path("/proc") / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return {}
    fields = (line.split() for line in rollup.splitlines()[1:])
    return {field[0].rstrip(":"): int(field[1]) * 1024 for field in fields}
