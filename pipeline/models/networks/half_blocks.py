"""Weights in half where a GPU is to compute in half: converted once, and not by each call.

Autocast converts every weight in every call, which for a small network is more launches than its
convolutions. What loses labels stays in float32: see fused_convolution.py, which does so on a CPU.
"""

import torch
from torch import Tensor, nn

from maskmill.pipeline.models.networks.fused_convolution import FINE_BLOCKS
from maskmill.pipeline.models.networks.tf_mobilenetv2 import TfMobileNetV2DeepLab


class InputCast(nn.Module):
    """A part of a network whose weights are in another number format than what it is given."""

    def __init__(self, part: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.part, self.dtype = part, dtype

    def forward(self, features: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """What the part makes of the features."""
        return self.part(features.to(self.dtype))  # type: ignore[no-any-return]


def halve_blocks(network: TfMobileNetV2DeepLab, dtype: torch.dtype) -> TfMobileNetV2DeepLab:
    """The network, in place, with all but the stem, the fine blocks and the classifier in half.

    ReLU6 bounds what the halved blocks pass on: fp16, which ends at 65,504, has room for it.
    """
    network.to(dtype)
    backbone = network.backbone
    for part in (backbone.stem, *backbone.blocks[:FINE_BLOCKS], network.classifier):
        part.float()
    backbone.blocks[FINE_BLOCKS] = InputCast(backbone.blocks[FINE_BLOCKS], dtype)
    if network.decoder is not None:
        network.decoder.add_module("low_level", InputCast(network.decoder.low_level, dtype))
    network.add_module("classifier", InputCast(network.classifier, torch.float32))
    return network.eval()


def halve_network(network: nn.Module, dtype: torch.dtype, classifier: str) -> nn.Module:
    """The network, in place, with all but the classifier, and batch norms, in half.

    Args:
        network: of convolutions and batch norms; these add and scale in float32 what is in half.
        dtype: what the rest computes in.
        classifier: module name of the last convolution.

    Returns:
        A network that takes float32 and gives float32.
    """
    network.to(dtype)
    for norm in [one for one in network.modules() if isinstance(one, nn.BatchNorm2d)]:
        norm.float()
    parent, _, name = classifier.rpartition(".")
    last = network.get_submodule(classifier).float()
    setattr(network.get_submodule(parent), name, InputCast(last, torch.float32))
    return InputCast(network, dtype).eval()
