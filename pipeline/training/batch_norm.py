"""Batch norm while a network learns: frozen, learning, or in step over several GPUs."""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from maskmill.schemas.errors import SettingsError


def set_batch_norm(network: nn.Module, mode: str) -> None:
    """Training mode; ``frozen`` batch norm keeps its statistics and learns scale and shift."""
    network.train()
    if mode == "frozen":
        for module in batch_norms(network):
            module.eval()


def batch_norms(network: nn.Module) -> Iterator[_BatchNorm]:
    """The layers that keep statistics of batches."""
    return (one for one in network.modules() if isinstance(one, _BatchNorm))


def check_sync(mode: str, device: str) -> None:
    """Refuse what PyTorch has not.

    Raises:
        SettingsError: synchronised batch norm on CPUs.
    """
    if mode == "sync" and device == "cpu":
        raise SettingsError("--batch-norm sync needs GPUs; on CPUs use frozen or train")


def synchronised(network: nn.Module) -> nn.Module:
    """The network with statistics of the pictures of all workers."""
    made: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return made
