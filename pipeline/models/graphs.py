"""CUDA graphs: what a network launches, recorded once for a shape and replayed by a single launch.

A replay is used only where it gave, bit for bit, what the network itself gave for the same group;
where it does not, or a graph cannot be made, the network is called as ever.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from maskmill.pipeline.models.device_failures import check_device, first_line

Forward = Callable[[Tensor], Tensor]

MOST_GRAPHS = 4
"""Shapes that have one in a process; each keeps its input and answer, all share the rest."""

CALLS_BEFORE = 3
"""Groups of a shape after which it is taken to repeat: making a graph costs some five forwards."""

WARM_UPS = 1
"""Calls on the stream that is recorded, before: libraries make what they keep for each stream."""

OTHER_BITS = "a replay said something else than the network itself"
NO_ROOM = "memory ran out beside them"

_TURN = threading.Lock()
"""A process records one graph at a time, and a graph's input and answer are one place in memory."""


@dataclass(frozen=True, slots=True, eq=False)
class _Graph:
    """What was launched, and where it reads and writes."""

    launches: torch.cuda.CUDAGraph
    pixels: Tensor
    answer: Tensor

    def replayed(self, pixels: Tensor) -> Tensor:
        """The answer, in memory of its own: the next replay writes over this one's."""
        self.pixels.copy_(pixels)
        self.launches.replay()
        return self.answer.clone()


class Graphs:
    """Calls of one network on a GPU. Threads may share it; they take turns.

    A shape is recorded once it has been called ``calls_before`` times. ``trouble`` says why nothing
    is replayed any more; None as long as nothing went wrong.
    """

    def __init__(self) -> None:
        self.trouble: str | None = None
        self.calls_before = CALLS_BEFORE
        self._made: dict[tuple[int, ...], _Graph] = {}
        self._calls: Counter[tuple[int, ...]] = Counter()
        self._aside: Any = None  # the stream that all are recorded on
        self._pool: Any = None  # and the memory they share: no two are at work at once

    @property
    def count(self) -> int:
        """How many shapes have one."""
        return len(self._made)

    def __call__(self, forward: Forward, pixels: Tensor) -> Tensor:
        """What ``forward`` says to the pixels; both on the GPU, in inference mode.

        Args:
            forward: the network, the same in every call.
            pixels: (N, 3, H, W), in the memory format that all calls have.

        Raises:
            DeviceLost: the GPU failed, while recording, in a way that ends its use.
        """
        shape = tuple(pixels.shape)
        with _TURN:
            if shape in self._made:
                return self._made[shape].replayed(pixels)
            answer = forward(pixels)
            self._calls[shape] += 1
            if self._calls[shape] >= self.calls_before and len(self._made) < MOST_GRAPHS:
                self._make(forward, pixels, answer)
            return answer

    def give_up(self, why: str) -> bool:
        """Forget all graphs and make no more; whether there were any, whose memory is free now.

        Nothing that they launched may still be at work.
        """
        had = bool(self._made)
        self.trouble = self.trouble or why
        self._made.clear()
        self._pool = None
        return had

    def _make(self, forward: Forward, pixels: Tensor, answer: Tensor) -> None:
        """Record a shape, and keep it if it repeats what the network has just said."""
        shape = tuple(pixels.shape)
        if self.trouble:
            return
        try:
            graph = self._recorded(forward, pixels)
            said = graph.replayed(pixels)
        except RuntimeError as error:  # memory, too: the network has just answered without one
            check_device(pixels.device, error)
            self.give_up(first_line(error))
            return
        if _same_bits(said, answer):
            self._made[shape] = graph
        else:
            self.give_up(OTHER_BITS)

    def _recorded(self, forward: Forward, pixels: Tensor) -> _Graph:
        """What is launched for this shape, recorded and replayed on zeros.

        Whatever were baked in of them would show when it is replayed on pixels.
        """
        if self._pool is None:
            self._aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()
        shown, launches = torch.zeros_like(pixels), torch.cuda.CUDAGraph()
        self._aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._aside):
            for _ in range(WARM_UPS):
                forward(shown)
        torch.cuda.current_stream().wait_stream(self._aside)
        with torch.cuda.graph(
            launches,
            pool=self._pool,
            stream=self._aside,
            capture_error_mode="thread_local",  # others let go of pinned memory meanwhile
        ):
            answer = forward(shown)
        launches.replay()
        return _Graph(launches, shown, answer)


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """NaN is NaN, and 0 is not -0."""
    return torch.equal(one.view(torch.int32), other.view(torch.int32))
