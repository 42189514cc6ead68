"""Random weights to begin from that signals survive: for networks without batch norm."""

import math

from torch import nn

from maskmill.pipeline.models.networks.same_convolution import SameConv2d
from maskmill.pipeline.training.batch_norm import batch_norms


def initialise(network: nn.Module) -> None:
    """Draw the convolutions of a network that has no batch norm, so that it can be learnt.

    PyTorch's own draw shrinks a signal by the square root of three, and of two more for a ReLU, in
    every layer: after fifty of them nothing is left, and batch norm, which would mend it, is not
    there. Here its second moment stays (He et al. 2015, "Delving Deep into Rectifiers", 2.2):
    variance 2 / fan-in before a ReLU, 1 / fan-in where nothing follows. A network with batch norm
    stays as it was built.
    """
    if any(True for _ in batch_norms(network)):
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            is_linear = isinstance(module, SameConv2d) and module.activation == "none"
            gain = 1.0 if is_linear else math.sqrt(2.0)
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=gain / math.sqrt(fan_in))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
