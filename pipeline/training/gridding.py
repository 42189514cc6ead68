"""Logits at every pixel of the network's input, by the network's own rule of upsampling."""

import torch.nn.functional as F
from torch import Tensor

from maskmill.pipeline.models.networks.tf_mobilenetv2 import resize_bilinear


def logits_at(logits: Tensor, size_hw: tuple[int, int], alignment: str) -> Tensor:
    """(N, C, h, w) -> (N, C, *size_hw), bilinear; ``alignment`` as in ModelSpec."""
    if alignment == "half_pixel":
        return F.interpolate(logits, size_hw, mode="bilinear", align_corners=False)
    return resize_bilinear(logits, size_hw, alignment)
