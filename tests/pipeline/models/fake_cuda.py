"""A CUDA device that computes nothing: shapes, dtypes, devices and launches of what runs on it.

PyTorch's FakeTensorMode knows which device each tensor is on and refuses to mix them. What needs a
driver is replaced here: autocast asks whether there is CUDA at all, pinning and copying back to
NumPy need memory.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

_EMPTY, _EQUAL = torch.empty, torch.equal
CONVOLUTION = "aten.conv2d.default"


class Launches(TorchDispatchMode):
    """Kernels that a block launches on the fake GPU, by name; convolutions by dtype too."""

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Counter[str] = Counter()
        self.convolution_dtypes: Counter[torch.dtype] = Counter()
        self.sent: list[tuple[torch.dtype, tuple[int, ...]]] = []
        self.copied_back: list[tuple[torch.dtype, tuple[int, ...]]] = []

    @property
    def total(self) -> int:
        return self.by_name.total()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [one for one in (result, *args) if isinstance(one, torch.Tensor)]
        is_ours = func.namespace == "aten" and any(one.is_cuda for one in tensors)
        if is_ours and (_copies(tensors) if ".to." in str(func) else not func.is_view):
            self.by_name[str(func)] += 1
            if str(func) == CONVOLUTION:
                self.convolution_dtypes[result.dtype] += 1
            if tensors[0].device.type == "cpu":
                self.copied_back.append((result.dtype, tuple(result.shape)))
            elif ".to." in str(func) and tensors[1].device.type == "cpu":
                self.sent.append((result.dtype, tuple(result.shape)))
        return result


def _copies(tensors: list[torch.Tensor]) -> bool:
    """Whether ``Tensor.to`` had anything to do."""
    result, given = tensors[:2]
    return (result.dtype, result.device) != (given.dtype, given.device)


def _moved(module: nn.Module, change: Any, recurse: bool = True) -> nn.Module:
    """nn.Module's own swaps parameters in place, which fake ones do not allow."""
    for part in module.modules():
        for name, value in list(part._parameters.items()):
            if value is not None:
                part._parameters[name] = nn.Parameter(change(value.detach()), requires_grad=False)
        for name, value in list(part._buffers.items()):
            if value is not None:
                value.constant = None  # known values are computed with in earnest
                part._buffers[name] = change(value)
    return module


@dataclass(kw_only=True)
class FakeGpu:
    """What the device says of itself, and what was asked of it. ``lost``: nothing answers.

    ``graph_failure`` is raised while a CUDA graph is recorded, after which nothing answers where
    ``graphs_lose_it``; ``replay_failure`` by a replay. ``same_bits`` is what comparing tensors of
    a device that computes nothing gives.
    """

    name: str = "Some GPU"
    bf16: bool = True
    lost: bool = False
    share: float | None = None
    synchronisations: int = 0
    pinned: int = 0
    graph_failure: Exception | None = None
    graphs_lose_it: bool = False
    replay_failure: Exception | None = None
    same_bits: bool = True
    recorded: int = 0
    replays: int = 0

    def synchronize(self, *_: Any) -> None:
        self.synchronisations += 1
        if self.lost:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    def empty(self, *size: Any, pin_memory: bool | None = False, **options: Any) -> torch.Tensor:
        """``torch.empty``: only a driver can pin."""
        self.pinned += bool(pin_memory)
        return _EMPTY(*size, **options)

    def equal(self, one: torch.Tensor, other: torch.Tensor) -> bool:
        """``torch.equal``: of values that nobody has computed."""
        fake = isinstance(one, FakeTensor) or isinstance(other, FakeTensor)
        return self.same_bits if fake else _EQUAL(one, other)

    @contextmanager
    def graph(self, *_: Any, **__: Any) -> Iterator[None]:
        """``torch.cuda.graph``."""
        yield
        if self.graph_failure is not None:
            self.lost = self.graphs_lose_it
            raise self.graph_failure
        self.recorded += 1

    def replay(self) -> None:
        self.replays += 1
        if self.replay_failure is not None and self.replays > 2 * self.recorded:  # not the trial's
            raise self.replay_failure

    def keep_to(self, share: float, *_: Any) -> None:
        self.share = share


class FakeStream:
    """A stream in which nothing is ever at work."""

    def wait_stream(self, _: "FakeStream") -> None:
        pass


@contextmanager
def nothing(*_: Any, **__: Any) -> Iterator[None]:
    yield


def answer_for(gpu: FakeGpu, patch: pytest.MonkeyPatch) -> None:
    """Put a device's answers in the place of the driver's."""
    properties = SimpleNamespace(name=gpu.name, multi_processor_count=7, total_memory=1 << 34)
    for name, answer in {
        "is_available": lambda: True,
        "get_device_properties": lambda *_: properties,
        "is_bf16_supported": lambda **_: gpu.bf16,
        "synchronize": gpu.synchronize,
        "empty_cache": lambda: None,
        "set_per_process_memory_fraction": gpu.keep_to,
        "current_stream": FakeStream,
        "stream": nothing,
        "Stream": FakeStream,
        "graph": gpu.graph,
        "graph_pool_handle": lambda: (0, 1),
        "CUDAGraph": lambda: SimpleNamespace(replay=gpu.replay),
    }.items():
        patch.setattr(torch.cuda, name, answer)
    patch.setattr(torch.version, "cuda", "13.0")
    patch.setattr(torch.backends.cudnn, "version", lambda: 91000)
    patch.setattr(torch._C, "_cuda_getDriverVersion", lambda: 13020, raising=False)


@contextmanager
def fake_cuda(gpu: FakeGpu | None = None) -> Iterator[FakeGpu]:
    """Within the block a Segmenter on "cuda" runs to its end; its answers are all zeros."""
    gpu = gpu or FakeGpu()
    as_numpy = torch.Tensor.numpy

    def numpy(tensor: torch.Tensor, **options: Any) -> Any:
        if not isinstance(tensor, FakeTensor):
            return as_numpy(tensor, **options)
        assert tensor.device.type == "cpu", "NumPy cannot read a GPU's memory"
        dtype = torch.empty((), dtype=tensor.dtype, device="meta").dtype
        return np.zeros(tuple(tensor.shape), str(dtype).removeprefix("torch."))

    with pytest.MonkeyPatch.context() as patch, FakeTensorMode(allow_non_fake_inputs=True):
        answer_for(gpu, patch)
        patch.setattr(torch, "empty", gpu.empty)
        patch.setattr(torch, "equal", gpu.equal)
        patch.setattr(torch.Tensor, "numpy", numpy)
        patch.setattr(nn.Module, "_apply", _moved)
        for name in ("benchmark", "deterministic", "allow_tf32"):
            patch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
        yield gpu
