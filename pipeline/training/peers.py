"""The workers that train one network together: their number, and what they tell each other."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn

from maskmill.pipeline.training.losses import alone


class Alone:
    """One worker: nothing is sent."""

    rank, world = 0, 1

    def gather(self, sums: Tensor) -> Tensor:
        """The sums as they are."""
        return alone(sums)

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network as it is."""
        return network

    def collect(self, rows: Sequence[Any]) -> list[Any]:
        """The rows as they are."""
        return list(rows)


class Distributed:
    """One of several processes of a torch.distributed group that exists already."""

    def __init__(self) -> None:
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()

    def gather(self, sums: Tensor) -> Tensor:
        """The sums of all workers; gradients pass, each worker's to its own pixels."""
        from torch.distributed.nn.functional import all_reduce

        total: Tensor = all_reduce(sums)  # type: ignore[no-untyped-call]
        return total

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network, its gradients averaged over the workers after each backward pass.

        Every worker derives the same loss of the whole batch, and what :meth:`gather` sends back
        is added over the workers: the average is then the gradient of that loss.
        """
        device = next(network.parameters()).device
        places = [device.index] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=places)

    def collect(self, rows: Sequence[Any]) -> list[Any]:
        """The rows of all workers, in the order of their ranks."""
        found: list[list[Any]] = [[] for _ in range(self.world)]
        distributed.all_gather_object(found, list(rows))
        return [row for part in found for row in part]


def peers() -> Alone | Distributed:
    """Those of this process."""
    together = distributed.is_available() and distributed.is_initialized()
    return Distributed() if together and torch.distributed.get_world_size() > 1 else Alone()
