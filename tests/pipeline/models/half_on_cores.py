"""What a GPU computes in half, computed on cores: products in float32, every answer rounded.

Tensor cores multiply halves and add in float32; what they hand on is half. Cores without half
arithmetic take seconds for a picture to do the same thing, and this takes the network's usual time.
"""

import torch
from torch import nn

from maskmill.pipeline.models.networks.half_blocks import InputCast, halve_blocks
from maskmill.pipeline.models.networks.same_convolution import SameConv2d
from maskmill.pipeline.models.networks.tf_mobilenetv2 import TfMobileNetV2DeepLab


def rounded_blocks(network: TfMobileNetV2DeepLab, dtype: torch.dtype) -> TfMobileNetV2DeepLab:
    """The network with its halved parts rounded to ``dtype``, weights and all that passes."""
    network = halve_blocks(network, dtype)

    def in_half(_: nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(one.to(dtype).float() for one in given)

    def out_half(_: nn.Module, __: object, answer: torch.Tensor) -> torch.Tensor:
        return answer.to(dtype).float()

    for part in network.modules():
        if isinstance(part, SameConv2d) and part.weight.dtype == dtype:
            part.register_forward_pre_hook(in_half)
            part.register_forward_hook(out_half)
        elif isinstance(part, InputCast):
            part.dtype = torch.float32
    return network.float()
