"""PyTorch's settings are the process's: set for the length of a block, and given back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from maskmill.pipeline.models.allocator import give_freed_memory_back


@contextmanager
def exact_settings(threads: int = 1) -> Iterator[None]:
    """A block in which networks give the same answers each time, on ``threads`` CPU threads.

    For processes that are not ours: the caller's number of threads and cuDNN's switches are as
    before afterwards, and memory that was kept for the next picture is given back.
    """
    cudnn = torch.backends.cudnn
    before = torch.get_num_threads(), cudnn.benchmark, cudnn.allow_tf32, cudnn.deterministic
    try:
        torch.set_num_threads(threads)
        exact_kernels()
        yield
    finally:
        torch.set_num_threads(before[0])
        cudnn.benchmark, cudnn.allow_tf32, cudnn.deterministic = before[1:]
        give_freed_memory_back()


def exact_kernels() -> None:
    """Have cuDNN give the same bits for the same input, in this process, from here on."""
    cudnn = torch.backends.cudnn
    cudnn.benchmark = False  # it may pick other kernels from run to run
    cudnn.deterministic = True  # and some of these add in any order
    cudnn.allow_tf32 = False  # fp32 means fp32


def keep_to_share_of_gpu(share: float) -> None:
    """Bound this process to its share of the GPU's memory, so that neighbours keep theirs.

    What it takes beyond PyTorch's allocator (CUDA's own part, cuDNN's) is not counted there, so a
    tenth of the share is left for that. Where there is no GPU nothing is done: the facts say why.
    """
    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(share * 0.9)


def best_device() -> str:
    """``cuda`` where there is one, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"
