"""What this machine offers, told without PyTorch, whose import takes seconds."""

import os
from pathlib import Path


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
