"""Batch norm while a network learns: frozen, learning, or learning from all workers' pictures."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from maskmill.pipeline.training.losses import Gather


def set_batch_norm(network: nn.Module, mode: str) -> None:
    """Training mode; ``frozen`` batch norm keeps its statistics and learns scale and shift.

    ``sync`` looks the same to the layers: what they are given has been normalised already, see
    :func:`synchronise`.
    """
    network.train()
    if mode in ("frozen", "sync"):
        for module in batch_norms(network):
            module.eval()


def batch_norms(network: nn.Module) -> Iterator[_BatchNorm]:
    """The layers that keep statistics of batches."""
    return (one for one in network.modules() if isinstance(one, _BatchNorm))


def synchronise(network: nn.Module, gather: Gather) -> None:
    """Let batch norm see the pictures of all workers while the network is in training mode.

    Before each layer its input is normalised by mean and variance over all workers and laid onto
    the layer's own statistics, which it then takes off again: so layers of any class and device
    work (torch's SyncBatchNorm is for GPUs, and replaces the layers). Statistics are kept as
    torch.nn.BatchNorm2d keeps them, and are the same bits in every worker.
    """
    for module in batch_norms(network):
        module.register_forward_pre_hook(_normaliser(network, gather))


def _normaliser(network: nn.Module, gather: Gather) -> Callable[[nn.Module, Any], Any]:
    def normalise(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if not network.training or not isinstance(module, _BatchNorm):
            return None
        values = inputs[0].float()
        count = gather(values.new_tensor([values.numel() / values.shape[1]]))
        mean = gather(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = gather(centred.square().sum((0, 2, 3))) / count
        _keep(module, mean.detach(), variance.detach(), count)
        kept_mean, kept_variance = module.running_mean, module.running_var
        if kept_mean is None or kept_variance is None:
            raise TypeError(f"{type(module).__name__} keeps no statistics")
        scale = ((kept_variance + module.eps) / (variance + module.eps)).sqrt()
        return (centred * scale[:, None, None] + kept_mean[:, None, None],)

    return normalise


@torch.no_grad()
def _keep(module: _BatchNorm, mean: Tensor, variance: Tensor, count: Tensor) -> None:
    """Move the layer's statistics towards those of the batch; the variance without its bias."""
    if module.running_mean is None or module.running_var is None:
        return
    if module.num_batches_tracked is not None:
        module.num_batches_tracked += 1
    share = module.momentum
    if share is None:
        share = 1.0 / float(module.num_batches_tracked or 1)
    module.running_mean.lerp_(mean, share)
    module.running_var.lerp_(variance * (count / (count - 1)), share)
