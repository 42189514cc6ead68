"""What a training asks of those that it shares its batches with; one that is alone asks nobody."""

from collections.abc import Sequence
from typing import Any

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
