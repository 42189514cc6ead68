"""The rest of a CUDA device that computes nothing: what accept.py asks of it beside networks."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.pipeline.models.fake_cuda import FakeGpu, fake_cuda


class FakeEvent:
    """A mark in a stream, whose time is nothing."""

    def __init__(self, **_: Any) -> None:
        self.recorded = False

    def record(self) -> None:
        self.recorded = True

    def elapsed_time(self, end: "FakeEvent") -> float:
        assert self.recorded and end.recorded, "both ends must have been recorded"
        return 0.0


@contextmanager
def fake_device() -> Iterator[FakeGpu]:
    """Within the block every step of accept.py but those of whole jobs can be done."""
    with fake_cuda() as gpu, pytest.MonkeyPatch.context() as patch:
        for name, answer in {
            "device_count": lambda: 1,
            "memory_allocated": lambda *_: 1 << 20,
            "max_memory_allocated": lambda *_: 3 << 20,
            "reset_peak_memory_stats": lambda *_: None,
            "mem_get_info": lambda *_: (8 << 20, 1 << 34),
            "Event": FakeEvent,
        }.items():
            patch.setattr(torch.cuda, name, answer)
        yield gpu


def smaller_than(gpu: FakeGpu, limit: int) -> SimpleNamespace:
    """Makes forwards of more than ``limit`` pictures fail while the process's share is bounded."""
    plain = torch.nn.Conv2d.forward

    def forward(layer: Any, pixels: torch.Tensor) -> torch.Tensor:
        if gpu.share is not None and gpu.share < 1 and len(pixels) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(layer, pixels)

    return SimpleNamespace(forward=forward)
