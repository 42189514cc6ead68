"""CUDA graphs without a GPU: what is recorded is done again in the same memory, as a GPU would."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from maskmill.pipeline.models.graphs import CALLS_BEFORE, MOST_GRAPHS, OTHER_BITS, WARM_UPS, Graphs
from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.segmenter import Segmenter
from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.views.preparation import NetworkPicture, prepare
from maskmill.schemas.errors import DeviceLost
from tests.pipeline.models.fake_cuda import FakeGpu, FakeStream, Launches, fake_cuda, nothing

NAME = "deeplabv3_mobilenetv2_x05_voc"
GROUP = 4
REPLAYED_LAUNCHES = 20
"""Of a group: pixels up and normalised, into the graph, out of it and down; eager takes 124."""
LONGEST = 60.0


class Recorder(TorchDispatchMode):
    """Notes every operation; recording a graph computes nothing, so values are spoilt."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and isinstance(result, torch.Tensor):
            self.steps.append((func, args, kwargs or {}, result))
        return result

    def spoil(self) -> None:
        for func, _, _, result in self.steps:
            if "_." not in str(func):
                result.fill_(torch.nan)


class RecordedGraph:
    """A graph whose replay does the noted operations again, on the same tensors."""

    before_replay = staticmethod(lambda: None)

    def __init__(self) -> None:
        self.steps: list[tuple[Any, Any, Any, Any]] = []

    def replay(self) -> None:
        RecordedGraph.before_replay()
        for func, args, kwargs, result in self.steps:
            again = func(*args, **kwargs)
            if again is not result:
                result.copy_(again)


class Cuda:
    """How graphs were recorded, and the error that recording shall meet."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.attempts = 0
        self.how: list[dict[str, Any]] = []

    @contextmanager
    def graph(self, launches: RecordedGraph, **how: Any) -> Iterator[None]:
        self.attempts += 1
        with Recorder() as recorder:
            yield
        if self.failure is not None:
            raise self.failure
        recorder.spoil()
        launches.steps = recorder.steps
        self.how.append(how)


@pytest.fixture
def cuda(monkeypatch) -> Cuda:
    one = Cuda()
    for name, answer in {
        "current_stream": FakeStream,
        "stream": nothing,
        "Stream": FakeStream,
        "graph": one.graph,
        "graph_pool_handle": object,
        "CUDAGraph": RecordedGraph,
        "synchronize": lambda: None,
        "empty_cache": lambda: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    return one


class Network(nn.Module):
    """A network that counts its calls; ``baked_in`` makes a launch depend on what was shown."""

    def __init__(self, *, baked_in: bool = False) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU6(), nn.Conv2d(8, 5, 1))
        self.baked_in, self.calls = baked_in, 0

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        logits = self.layers(pixels)
        return logits * float(pixels.abs().amax()) if self.baked_in else logits


def noise(seed: int, *shape: int) -> torch.Tensor:
    made = torch.rand(shape or (2, 3, 9, 9), generator=torch.Generator().manual_seed(seed))
    return made.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def answers(graphs: Graphs, network: nn.Module, shown: list[torch.Tensor]) -> list[torch.Tensor]:
    return [graphs(network, pixels) for pixels in shown]


@torch.inference_mode()
def same_as_called(found: list[torch.Tensor], network: nn.Module, shown: list[torch.Tensor]):
    return all(torch.equal(a, network(b)) for a, b in zip(found, shown, strict=True))


def test_replays_say_what_the_network_says_each_in_memory_of_its_own(cuda):
    network, graphs = Network(), Graphs()
    shown = [noise(seed) for seed in range(8)]
    found = answers(graphs, network, shown)
    assert network.calls == CALLS_BEFORE + WARM_UPS + 1
    assert (graphs.count, graphs.trouble) == (1, None)
    assert same_as_called(found, network, shown)


def test_what_replays_otherwise_is_called_as_ever(cuda):
    network, graphs = Network(baked_in=True), Graphs()
    shown = [noise(seed) * (seed + 1) for seed in range(8)]
    found = answers(graphs, network, shown)
    assert (graphs.count, graphs.trouble, cuda.attempts) == (0, OTHER_BITS, 1)
    assert same_as_called(found, network, shown)


@pytest.mark.parametrize(
    "failure",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        torch.AcceleratorError("CUDA error: operation not permitted when stream is capturing\nsee"),
    ],
)
def test_a_graph_that_cannot_be_recorded_is_tried_once(cuda, failure):
    cuda.failure = failure
    network, graphs = Network(), Graphs()
    shown = [noise(seed) for seed in range(8)]
    found = answers(graphs, network, shown)
    assert (graphs.count, cuda.attempts) == (0, 1)
    assert graphs.trouble == str(failure).partition("\n")[0]
    assert same_as_called(found, network, shown)


def test_an_error_that_is_no_runtime_error_is_a_bug_and_loud(cuda):
    cuda.failure = TypeError("a bug")
    with pytest.raises(TypeError, match="a bug"):
        answers(Graphs(), Network(), [noise(1)] * CALLS_BEFORE)


def test_shapes_have_a_graph_each_and_only_so_many_of_those_that_repeat(cuda):
    network, graphs = Network(), Graphs()
    sizes = range(9, 9 + MOST_GRAPHS + 2)
    shown = [noise(size, 2, 3, size, 9) for _ in range(CALLS_BEFORE + 2) for size in sizes]
    rare = [noise(seed, 2, 3, 30, 30) for seed in range(CALLS_BEFORE - 1)]
    found = answers(graphs, network, rare + shown)
    assert (graphs.count, len(cuda.how)) == (MOST_GRAPHS, MOST_GRAPHS)
    assert same_as_called(found, network, rare + shown)
    assert len({id(how["stream"]) for how in cuda.how}) == 1
    assert len({id(how["pool"]) for how in cuda.how}) == 1
    assert {how["capture_error_mode"] for how in cuda.how} == {"thread_local"}


def test_threads_take_turns_at_what_all_replays_share(cuda, monkeypatch):
    network, graphs = Network(), Graphs()
    answers(graphs, network, [noise(0)] * CALLS_BEFORE)
    other_calls = threading.Event()

    def slow() -> None:
        assert other_calls.wait(LONGEST)
        time.sleep(0.1)  # without turns the other's pixels are there by now

    found: dict[int, torch.Tensor] = {}

    def call(seed: int) -> None:
        (found[seed],) = answers(graphs, network, [noise(seed)])

    first = threading.Thread(target=call, args=(1,))
    monkeypatch.setattr(RecordedGraph, "before_replay", staticmethod(slow))
    first.start()
    other_calls.set()
    call(2)
    first.join(LONGEST)
    assert same_as_called([found[1], found[2]], network, [noise(1), noise(2)])


def test_given_up_graphs_are_neither_replayed_nor_made_anew(cuda):
    network, graphs = Network(), Graphs()
    answers(graphs, network, [noise(0)] * CALLS_BEFORE)
    calls = network.calls
    assert graphs.give_up("no memory")
    assert not graphs.give_up("again")
    shown = [noise(seed) for seed in range(CALLS_BEFORE + 1)]
    assert same_as_called(answers(graphs, network, shown), Network(), shown)
    assert (network.calls - calls, graphs.trouble) == (len(shown), "no memory")


def picture() -> NetworkPicture:
    shown = torch.zeros(60, 80, 3, dtype=torch.uint8).numpy()
    return prepare(shown, MODELS[NAME].preprocessing, image_size=129)


SMALL = replace(
    MODELS[NAME],
    builder="tests.pipeline.models.limited_network:build",
    options=(("limit", GROUP),),
)
"""A network of one convolution."""


def segmenter(spec: ModelSpec = SMALL, **settings: Any) -> Segmenter:
    given = {"precision": "fp16", "group_size": GROUP, "untrained": True, "graphs": True}
    return Segmenter(spec, None, device="cuda", **{**given, **settings})


def test_a_group_that_repeats_costs_few_launches():
    with fake_cuda() as gpu:
        one, pictures = segmenter(MODELS[NAME]), [picture()] * GROUP
        one.forward(pictures * CALLS_BEFORE)
        replays = gpu.replays
        with Launches() as found:
            one.forward(pictures * 5)
        assert (gpu.recorded, gpu.replays - replays) == (1, 5)
        assert found.total <= 5 * REPLAYED_LAUNCHES
        assert len(found.copied_back) == 5


@pytest.mark.parametrize("settings", [{"graphs": False}, {"features": True}])
def test_nothing_is_recorded_unasked_nor_where_features_are_kept(settings):
    with fake_cuda() as gpu:
        segmenter(**settings).forward([picture()] * (GROUP * (CALLS_BEFORE + 1)))
        assert (gpu.recorded, gpu.replays) == (0, 0)


def test_memory_that_graphs_hold_is_freed_before_a_group_is_halved():
    with fake_cuda() as gpu:
        gpu.replay_failure = torch.OutOfMemoryError("CUDA out of memory")
        one, pictures = segmenter(), [picture()] * GROUP
        found = one.forward(pictures * (CALLS_BEFORE + 3))
        assert [answer.halved for answer in found] == [False] * len(found)
        assert (gpu.recorded, gpu.replays) == (1, 3)
        assert one.graph_trouble(picture()) == "memory ran out beside them"


def test_a_gpu_that_recording_costs_is_a_lost_gpu():
    failure = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    with fake_cuda(FakeGpu(graph_failure=failure, graphs_lose_it=True)):
        one = segmenter()
        with pytest.raises(DeviceLost, match="illegal memory access"):
            one.forward([picture()] * GROUP * CALLS_BEFORE)
