"""Batch norm while a network learns: frozen or learning."""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def set_batch_norm(network: nn.Module, mode: str) -> None:
    """Training mode; ``frozen`` batch norm keeps its statistics and learns scale and shift."""
    network.train()
    if mode == "frozen":
        for module in batch_norms(network):
            module.eval()


def batch_norms(network: nn.Module) -> Iterator[_BatchNorm]:
    """The layers that keep statistics of batches."""
    return (one for one in network.modules() if isinstance(one, _BatchNorm))
