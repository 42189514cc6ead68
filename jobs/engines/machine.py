"""What this machine offers, told without PyTorch, whose import takes seconds."""

import os
import shutil
from pathlib import Path

LEAST_OBJECT_STORE = 1 << 30
"""Bytes. Parcels are some 30 MB, and with networks on cores only a few are under way."""

STORE_SHARE, SHARED_SHARE = 0.3, 0.9
"""Of the memory, and of what the system shares between processes, for parcels of GPUs."""


def object_store_bytes() -> int:
    """Shared memory for a cluster of our own: by the machine's size where it has GPUs.

    There parcels are four times as large, and every loading and saving process holds some.
    """
    if not local_gpus():
        return LEAST_OBJECT_STORE
    shared = Path("/dev/shm")
    free = shutil.disk_usage(shared).free if shared.is_dir() else LEAST_OBJECT_STORE
    most = min(STORE_SHARE * local_memory(), SHARED_SHARE * free)
    return max(LEAST_OBJECT_STORE, int(most))


def local_memory() -> int:
    """Bytes of memory that this process may use (a container's share, not the machine's)."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [
        Path("/sys/fs/cgroup/memory.max"),
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ]
    told = [path.read_text().strip() for path in limits if path.is_file()]
    return min([whole, *(int(text) for text in told if text.isdigit())])


def shared_cores(count: int) -> int:
    """Threads for each of ``count`` processes on this machine: its cores shared, at least 1."""
    return max(1, local_cores() // count)


def local_cores() -> int:
    """Cores this process may use (a container's share, not the machine's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local_gpus() -> int:
    """GPUs this process may use: those named to it, else the device files of NVIDIA's driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    files = sum(path.name[6:].isdigit() for path in Path("/dev").glob("nvidia*"))
    if visible is None:
        return files
    named = [one for one in visible.split(",") if one.strip() not in ("", "-1")]
    return min(files, len(named))
