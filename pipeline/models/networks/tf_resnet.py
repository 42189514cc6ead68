"""TensorFlow DeepLab's ResNet-v1-50 and -101, batch norm folded into weight and bias.

Facts of its graphs: the last unit of a block carries its stride, in the 3x3, padded alike on all
sides; ``beta`` begins with three 3x3 convolutions where the original has one 7x7; the shortcut
of a unit that keeps its channels is its input, every second point of it under a stride. Past the
output stride, stride becomes dilation of what follows, times the unit's own in the last block.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from maskmill.pipeline.models.networks.same_convolution import SameConv2d, same_padded

_UNITS = {"resnet_v1_50": (3, 4, 6, 3), "resnet_v1_101": (3, 4, 23, 3)}
_WIDTHS = (64, 128, 256, 512)
_LOW_LEVEL = (0, 1)  # block and unit
VARIANTS = tuple(name + kind for name in _UNITS for kind in ("", "_beta"))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1, and the shortcut."""

    def __init__(self, channels_in: int, width: int, stride: int, rate: int) -> None:
        super().__init__()
        channels = 4 * width
        self.conv1 = SameConv2d(channels_in, width, activation="relu")
        self.conv2 = SameConv2d(
            width, width, 3, activation="relu", stride=stride, dilation=rate, explicit=True
        )
        self.conv3 = SameConv2d(width, channels, activation="none")
        self.stride = stride
        self.shortcut = (
            SameConv2d(channels_in, channels, activation="none", stride=stride)
            if channels_in != channels
            else None
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, h, w) -> the unit's output, and its residual before the sum."""
        residual = self.conv3(self.conv2(self.conv1(features)))
        if self.shortcut is not None:
            beside = self.shortcut(features)
        else:
            beside = features[:, :, :: self.stride, :: self.stride]
        return F.relu_(beside + residual), residual


class ResNetBackbone(nn.Module):
    """Root, pooling and four blocks."""

    def __init__(self, variant: str, output_stride: int, multi_grid: tuple[int, ...]) -> None:
        super().__init__()
        root = _root(beta=variant.endswith("_beta"))
        self.stem = nn.Sequential(*root)
        units = _UNITS[variant.removesuffix("_beta")]
        self.blocks = nn.ModuleList(
            _blocks(units, root[-1].out_channels, output_stride, multi_grid)
        )
        self.channels, self.low_level_channels = 4 * _WIDTHS[-1], 4 * _WIDTHS[0]

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) -> last features (N, 2048, H / OS, W / OS), low-level ones at stride 4."""
        # After ReLU nothing is negative: TensorFlow's empty border and zeros have the same maximum.
        features = F.max_pool2d(same_padded(self.stem(pixels)), 3, 2)
        low_level = features
        for number, block in enumerate(self.blocks):
            units: Any = block
            for position, unit in enumerate(units):
                features, residual = unit(features)
                if (number, position) == _LOW_LEVEL:
                    low_level = residual
        return features, low_level


def _root(*, beta: bool) -> list[SameConv2d]:
    if not beta:
        return [SameConv2d(3, 64, 7, activation="relu", stride=2, explicit=True)]
    return [
        SameConv2d(3, 64, 3, activation="relu", stride=2, explicit=True),
        SameConv2d(64, 64, 3, activation="relu", explicit=True),
        SameConv2d(64, 128, 3, activation="relu", explicit=True),
    ]


def _blocks(
    units: tuple[int, ...], channels: int, output_stride: int, multi_grid: tuple[int, ...]
) -> list[nn.Sequential]:
    blocks, reached, rate = [], 4, 1
    for number, (width, count) in enumerate(zip(_WIDTHS, units, strict=True)):
        block = []
        for position in range(count):
            last = number == len(units) - 1
            wanted = 2 if position == count - 1 and not last else 1
            own = multi_grid[position] if last else 1
            if reached == output_stride:
                block.append(Bottleneck(channels, width, 1, rate * own))
                rate *= wanted
            else:
                block.append(Bottleneck(channels, width, wanted, own))
                reached *= wanted
            channels = 4 * width
        blocks.append(nn.Sequential(*block))
    return blocks
