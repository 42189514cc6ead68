"""Two workers of torch.distributed on loopback: this process and one more, without Ray."""

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

ROOT = Path(__file__).resolve().parents[3]


def on_two_workers(work: Callable[..., object], *arguments: object) -> object:
    """What ``work(peers, *arguments)`` gives in the first of two workers that both call it."""
    with tempfile.TemporaryDirectory() as folder:
        parcel = Path(folder) / "parcel"
        parcel.write_bytes(pickle.dumps((work, arguments)))
        second = subprocess.Popen(
            [sys.executable, "-m", "tests.pipeline.training.two_workers", folder],
            cwd=ROOT,
            stderr=subprocess.PIPE,
        )
        try:
            found = as_worker(0, folder, work, arguments)
            _, said = second.communicate(timeout=60)
            assert second.returncode == 0, said.decode()
        finally:
            second.kill()
            second.wait()
    return found


def as_worker(rank: int, folder: str, work: Callable[..., object], arguments: tuple) -> object:
    from maskmill.pipeline.training.peers import Group

    place = f"file://{folder}/meeting"
    dist.init_process_group(
        "gloo", init_method=place, rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    try:
        return work(Group(), *arguments)
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    called, given = pickle.loads((Path(sys.argv[1]) / "parcel").read_bytes())
    as_worker(1, sys.argv[1], called, given)
