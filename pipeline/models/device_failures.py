"""What a device says when it fails: out of memory, or lost to this process for good."""

import torch

from maskmill.schemas.errors import DeviceLost

_EXHAUSTED = (
    "can't allocate memory",  # PyTorch's CPU allocator
    "CUDA error: out of memory",  # beside PyTorch's own allocator, an AcceleratorError
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to find an engine to execute this computation",  # cuDNN, without room to work in
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an operation failed for lack of memory; libraries have a sentence each for it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        sentence in str(error) for sentence in _EXHAUSTED
    )


def check_device(device: torch.device, error: BaseException) -> None:
    """After an error: whether the device still answers this process.

    An illegal address, a failed assertion or a memory fault ends a CUDA context: from then on every
    call fails with the same error, whatever it asks for. Others, as a wrong argument, do not.

    Raises:
        DeviceLost: it does not answer any more; only another process can use it.
    """
    if device.type != "cuda":
        return
    try:
        torch.cuda.synchronize()
    except RuntimeError as again:
        raise DeviceLost(
            f"the GPU is lost to this process: {first_line(error)}; asked whether it is there, it "
            f"says: {first_line(again)}"
        ) from error


def first_line(error: BaseException) -> str:
    """What an error says, without the advice that CUDA's errors append in lines of their own."""
    return str(error).partition("\n")[0].strip().rstrip(".")
