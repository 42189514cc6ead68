"""What a training asks of those that it shares its batches with: rank, sums of all, one network.

The loop is the same for one worker and for several; what differs is here.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.parallel import DistributedDataParallel

from maskmill.pipeline.training.losses import alone


class Peers(Protocol):
    """The workers of a training, as one of them sees them. Every call is made by all of them."""

    @property
    def rank(self) -> int:
        """Which one this is, from 0."""

    @property
    def world(self) -> int:
        """How many there are."""

    def gather(self, sums: Tensor) -> Tensor:
        """The sums of all workers added up; gradients go back to each."""

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network, its gradients averaged over the workers."""

    def level(self, network: nn.Module) -> None:
        """Give the buffers of the first worker's network to all."""

    def collect(self, rows: Sequence[Any]) -> list[Any]:
        """The rows of all workers, for each of them."""


class Alone:
    """One worker: nothing is sent."""

    rank, world = 0, 1

    def gather(self, sums: Tensor) -> Tensor:
        """The sums as they are."""
        return alone(sums)

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network as it is."""
        return network

    def level(self, network: nn.Module) -> None:
        """There is nobody to differ from."""

    def collect(self, rows: Sequence[Any]) -> list[Any]:
        """The rows as they are."""
        return list(rows)


class Group:
    """The processes of torch.distributed's default group, which has been set up.

    Every worker computes the loss of the whole batch from the sums of all. Their gradients come
    back through :class:`_Sum` once from each worker, so each share's gradient is ``world`` times
    too large; averaging over the workers, which DistributedDataParallel does, makes it right.
    """

    def __init__(self) -> None:
        self.rank, self.world = dist.get_rank(), dist.get_world_size()

    def gather(self, sums: Tensor) -> Tensor:
        """The sums of all workers, the same bits in each."""
        total: Tensor = _Sum.apply(sums)
        return total

    def wrapped(self, network: nn.Module) -> nn.Module:
        """DistributedDataParallel."""
        return DistributedDataParallel(network, gradient_as_bucket_view=True)

    def level(self, network: nn.Module) -> None:
        """Statistics of batch norm are those that the first worker has seen."""
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)

    def collect(self, rows: Sequence[Any]) -> list[Any]:
        """The rows of all workers, in the order of their ranks."""
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, list(rows))
        return [row for share in found for row in share]


class _Sum(Function):
    """Adds up a tensor over the workers; its gradient is the sum of theirs."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
