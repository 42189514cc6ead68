"""ASPP: the same features seen at several atrous rates at once, and as one average.

Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation", section 3.3;
atrous separable form: Chen et al. 2018, "Encoder-Decoder with Atrous Separable Convolution".
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Literal, get_args

import torch
from torch import nn
from torch.nn import functional

from maskmill.schemas.errors import SettingsError

Separable = Literal["none", "normalized", "plain"]
"""How a 3×3 convolution is factored.

``none``: not at all. ``normalized``: depthwise, norm, ReLU, then 1×1 (the paper's code, mmseg).
``plain``: depthwise and 1×1 with nothing between (segmentation-models-pytorch, VainF).
"""

BASE_RATES: Final = (6, 12, 18)
"""Rates at output stride 16; doubled at 8."""


def rates_at(output_stride: int) -> tuple[int, ...]:
    """The paper's ASPP rates at an output stride: 6, 12, 18 at 16; 12, 24, 36 at 8."""
    return tuple(rate * 16 // output_stride for rate in BASE_RATES)


def conv_norm_relu(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 1,
    *,
    rate: int = 1,
    separable: Separable = "none",
) -> nn.Sequential:
    """Convolution of stride 1 that keeps the size, batch norm, ReLU; 1×1 is never factored.

    Children: ``conv``, ``norm``, ``relu``; in separable forms ``depthwise`` (and, normalized,
    ``depthwise_norm``, ``depthwise_relu``) come first and ``conv`` is the 1×1.

    Raises:
        SettingsError: an unknown ``separable``.
    """
    if separable not in get_args(Separable):
        raise SettingsError(f"separable {separable!r} is not one of {get_args(Separable)}")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    padding = rate * (kernel_size // 2)
    if kernel_size == 1 or separable == "none":
        layers["conv"] = nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=padding, dilation=rate, bias=False
        )
    else:
        layers["depthwise"] = nn.Conv2d(
            in_channels, in_channels, kernel_size,
            padding=padding, dilation=rate, groups=in_channels, bias=False,
        )  # fmt: skip
        if separable == "normalized":
            layers["depthwise_norm"] = nn.BatchNorm2d(in_channels)
            layers["depthwise_relu"] = nn.ReLU(inplace=True)
        layers["conv"] = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    layers["norm"] = nn.BatchNorm2d(out_channels)
    layers["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


class ImagePooling(nn.Module):
    """The average over all positions, projected and spread back: (N, C, h, w) -> (N, D, h, w).

    ``window``: (rows, columns) averaged at once in its place, at steps of 1 (detectron2).
    """

    def __init__(
        self, in_channels: int, out_channels: int, window: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.project = conv_norm_relu(in_channels, out_channels)
        self.window = window

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w) float -> (N, D, h, w) float."""
        size = features.shape[2:]
        if self.window is None or (self.window[0] >= size[0] and self.window[1] >= size[1]):
            # Bilinear upsampling of a single point is that point everywhere: expanding is exact.
            pooled: torch.Tensor = self.project(features.mean((2, 3), keepdim=True))
            return pooled.expand(-1, -1, *size)
        kernel = (min(self.window[0], size[0]), min(self.window[1], size[1]))
        near = self.project(functional.avg_pool2d(features, kernel, stride=1))
        return functional.interpolate(near, size, mode="bilinear", align_corners=False)


class ASPP(nn.Module):
    """(N, C, h, w) -> (N, channels, h, w): 1×1, three atrous 3×3, image pooling, projected.

    ``project_kernel`` 1 is the paper's; mmsegmentation projects with 3×3.
    The concatenation order is: 1×1, rates as given, image pooling.
    """

    def __init__(
        self,
        in_channels: int,
        rates: Sequence[int],
        *,
        channels: int = 256,
        separable: Separable = "none",
        project_kernel: int = 1,
        project_separable: Separable = "none",
        dropout: float = 0.1,
        pool_window: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv_norm_relu(in_channels, channels)])
        for rate in rates:
            self.branches.append(
                conv_norm_relu(in_channels, channels, 3, rate=rate, separable=separable)
            )
        self.pool = ImagePooling(in_channels, channels, pool_window)
        self.project = conv_norm_relu(
            channels * (len(self.branches) + 1), channels, project_kernel,
            separable=project_separable,
        )  # fmt: skip
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w) float -> (N, channels, h, w) float."""
        seen = [branch(features) for branch in self.branches]
        seen.append(self.pool(features))
        projected: torch.Tensor = self.dropout(self.project(torch.cat(seen, dim=1)))
        return projected
