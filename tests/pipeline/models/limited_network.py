"""A network of one convolution that fails, as one chooses, beyond so many pictures at once."""

import torch
from torch import Tensor, nn

FAILURES = {
    "memory": torch.OutOfMemoryError("CUDA out of memory"),
    "kernels": torch.AcceleratorError(
        "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors"
    ),
    "address": torch.AcceleratorError(
        "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be"
    ),
}


class LimitedNetwork(nn.Module):
    def __init__(self, num_classes: int, limit: int, failure: str) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, num_classes, 1, stride=16)
        self.limit, self.failure = limit, failure

    def forward(self, pixels: Tensor) -> Tensor:
        if len(pixels) > self.limit:
            raise FAILURES[self.failure]
        return self.convolution(pixels)


def build(num_classes: int, *, limit: int, failure: str = "memory") -> LimitedNetwork:
    return LimitedNetwork(num_classes, limit, failure)
