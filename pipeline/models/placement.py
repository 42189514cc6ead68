"""A network where it is to run: on its device, its weights in the format it computes in."""

from dataclasses import dataclass

import torch
from torch import nn

from maskmill.pipeline.models.networks.folded_batch_norm import fold_batch_norms
from maskmill.pipeline.models.networks.fused_convolution import fuse_network
from maskmill.pipeline.models.networks.half_blocks import halve_blocks, halve_network
from maskmill.pipeline.models.networks.tf_mobilenetv2 import TfMobileNetV2DeepLab


@dataclass(frozen=True, slots=True)
class PlacedNetwork:
    """``autocast``: it has its weights in float32, and each call must convert them."""

    network: nn.Module
    autocast: bool


def place_network(
    network: nn.Module, device: torch.device, dtype: torch.dtype, classifier: str
) -> PlacedNetwork:
    """The network, in place, as it computes fastest with the labels it should give.

    On a GPU batch norms are folded and weights in half from the start; where the network has
    layers of which is not known that they bear it, autocast converts in every call, as on cores.

    Args:
        network: in evaluation mode, on the host.
        device: where it is to run.
        dtype: what it is to compute in.
        classifier: module name of the last convolution, whose answer stays in float32.
    """
    half = dtype != torch.float32
    if isinstance(network, TfMobileNetV2DeepLab):
        if device.type == "cpu":
            return PlacedNetwork(fuse_network(network, dtype), autocast=False)
        if half:
            network = halve_blocks(network, dtype)
        return PlacedNetwork(_moved(network, device), autocast=False)
    if device.type == "cpu":
        return PlacedNetwork(_moved(network, device), autocast=half)
    network = fold_batch_norms(network)
    if half and _is_convolutional(network):
        halved = halve_network(network, dtype, classifier)
        return PlacedNetwork(_moved(halved, device), autocast=False)
    return PlacedNetwork(_moved(network, device), autocast=half)


def _moved(network: nn.Module, device: torch.device) -> nn.Module:
    return network.to(device).to(memory_format=torch.channels_last)


def _is_convolutional(network: nn.Module) -> bool:
    """Whether all that was learnt is convolutions: GPUs add up their products in float32."""
    with_weights = [one for one in network.modules() if list(one.parameters(recurse=False))]
    return all(isinstance(one, nn.Conv2d | nn.BatchNorm2d) for one in with_weights)
