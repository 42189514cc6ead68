"""What a network costs: parameters, and multiply-adds for an input of a given size."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(network: nn.Module) -> int:
    """Trainable values: weights, biases, and the two of every batch norm channel."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(network: nn.Module, size_hw: tuple[int, int]) -> int:
    """Multiply-adds of convolutions and matrix products for one image; nothing else is counted.

    The network is run once in evaluation mode on its own device; on ``meta`` no arithmetic is
    done and no memory used.
    """
    device = next(network.parameters()).device
    training = network.training
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network.eval()(torch.zeros(1, 3, *size_hw, device=device))
    network.train(training)
    return int(counter.get_total_flops()) // 2
