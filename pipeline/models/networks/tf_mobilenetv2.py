"""TensorFlow's DeepLab on MobileNetV2: DeepLabv3 (OS 8) and DeepLabv3+ with its decoder (OS 16).

Facts of the published graphs (read from the files themselves): batch norm folded into weight and
bias; SAME padding, asymmetric at stride 2 on even sizes; ReLU6 in the backbone and ReLU in the
head; ASPP of image pooling and one 1x1 branch, concatenated in this order and projected to 256;
no activation after a block's projection. At output stride 8 the depthwise convolutions of blocks
7-13 are dilated by 2 and those of 14-16 by 4; at 16 only 14-16, by 2. The decoder takes block 2's
depthwise output (stride 4), projects it to 48 channels and refines with two separable 3x3.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskmill.pipeline.models.networks.same_convolution import SameConv2d

WIDTHS_X10 = (32, 16, 24, 32, 64, 96, 160, 320)
WIDTHS_X05 = (16, 8, 12, 16, 32, 48, 80, 160)  # the x0.5 file does not round up to multiples of 8
REPEATS = (1, 2, 3, 4, 3, 3, 1)  # blocks per group; group 0 does not expand
_STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of each group's first block, before dilation takes over
_EXPANSION = 6
_LOW_LEVEL_BLOCK = 2
_DECODER_CHANNELS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileNetV2Layout:
    """What distinguishes one file of this family from another.

    ``widths`` are the channels of the stem and of the seven groups, ``hidden`` those within each
    block (empty: six times its input; multipliers such as 0.75 round them). ``alignment`` is the
    rule of the graph's own bilinear resizes (see geometry.onto_grid). ``rounded``: the file is
    quantised, and what its convolutions answer is kept on its int8 grids, as it was trained.
    """

    widths: tuple[int, ...]
    output_stride: int
    num_classes: int
    decoder: bool = False
    aspp_channels: int = 256
    low_level_channels: int = 48
    alignment: str = "align_corners"
    rounded: bool = False
    hidden: tuple[int, ...] = ()


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter by a depthwise 3x3, project by 1x1; added to its input if it fits."""

    def __init__(
        self, channels_in: int, channels_out: int, *, hidden: int, stride: int, dilation: int
    ) -> None:
        super().__init__()
        expand = hidden != channels_in
        self.expand = SameConv2d(channels_in, hidden, activation="relu6") if expand else None
        self.depthwise = SameConv2d(
            hidden, hidden, 3, activation="relu6", stride=stride, dilation=dilation, depthwise=True
        )
        self.project = SameConv2d(hidden, channels_out, activation="none")
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, h, w) -> the block's output and its depthwise features (the decoder's input)."""
        hidden = features if self.expand is None else self.expand(features)
        filtered = self.depthwise(hidden)
        projected = self.project(filtered)
        return (projected.add_(features) if self.residual else projected), filtered


class MobileNetV2Backbone(nn.Module):
    """Stem and 17 inverted residual blocks; past the output stride, stride becomes dilation."""

    def __init__(
        self, widths: tuple[int, ...], output_stride: int, hidden: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        self.stem = SameConv2d(3, widths[0], 3, activation="relu6", stride=2)
        hidden = hidden or expanded(widths)
        self.blocks = nn.ModuleList(_blocks(widths, output_stride, hidden))
        self.channels, self.low_level_channels = widths[-1], hidden[_LOW_LEVEL_BLOCK]

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) -> last features (N, C, H / OS, W / OS), low-level features at stride 4."""
        features = self.stem(pixels)
        low_level = features
        for position, block in enumerate(self.blocks):
            features, filtered = block(features)
            if position == _LOW_LEVEL_BLOCK:
                low_level = filtered
        return features, low_level


class ImagePoolingAspp(nn.Module):
    """Global pooling beside one 1x1 branch, concatenated and projected.

    The pooled half of the concatenation is the same at every point, so its share of the projection
    is computed once per image and added as a bias: the same sum with half the multiplications.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.pooling = SameConv2d(channels_in, channels, activation="relu")
        self.branch = SameConv2d(channels_in, channels, activation="relu")
        self.projection = SameConv2d(2 * channels, channels, activation="relu")

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, channels, h, w)."""
        pooled = self.pooling(features.mean((2, 3), keepdim=True))
        for_pooled, for_local = torch.chunk(self.projection.weight, 2, dim=1)
        shared = F.conv2d(pooled, for_pooled, self.projection.bias)
        projected = F.relu_(F.conv2d(self.branch(features), for_local).add_(shared))
        return self.projection.rounded(projected)


class SeparableConv2d(nn.Module):
    """Depthwise 3x3 then 1x1, each followed by ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.depthwise = SameConv2d(channels_in, channels_in, 3, activation="relu", depthwise=True)
        self.pointwise = SameConv2d(channels_in, channels_out, activation="relu")

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C', h, w)."""
        return self.pointwise(self.depthwise(features))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """DeepLabv3+'s: low-level features reduced, joined with the upsampled ASPP, refined twice."""

    def __init__(self, low_level_in: int, layout: MobileNetV2Layout) -> None:
        super().__init__()
        self.low_level = SameConv2d(low_level_in, layout.low_level_channels, activation="relu")
        joined = layout.aspp_channels + layout.low_level_channels
        self.refine = nn.Sequential(
            SeparableConv2d(joined, _DECODER_CHANNELS),
            SeparableConv2d(_DECODER_CHANNELS, _DECODER_CHANNELS),
        )
        self.alignment = layout.alignment

    def forward(self, features: Tensor, low_level: Tensor) -> Tensor:
        """(N, C, h, w) and (N, C', H, W) -> (N, 256, H, W)."""
        reduced = self.low_level(low_level)
        coarse = resize_bilinear(features, (reduced.shape[2], reduced.shape[3]), self.alignment)
        return self.refine(torch.cat((coarse, reduced), dim=1))  # type: ignore[no-any-return]


class TfMobileNetV2DeepLab(nn.Module):
    """The whole network, up to the logits on their own grid."""

    def __init__(self, layout: MobileNetV2Layout) -> None:
        super().__init__()
        self.layout = layout
        self.backbone = MobileNetV2Backbone(layout.widths, layout.output_stride, layout.hidden)
        self.aspp = ImagePoolingAspp(layout.widths[-1], layout.aspp_channels)
        low_level_in = self.backbone.low_level_channels
        self.decoder = Decoder(low_level_in, layout) if layout.decoder else None
        channels = _DECODER_CHANNELS if layout.decoder else layout.aspp_channels
        self.classifier = SameConv2d(channels, layout.num_classes, activation="none")
        if layout.rounded:
            for module in self.modules():
                if isinstance(module, SameConv2d):
                    module.keep_on_grid()

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) float, x / 127.5 - 1 -> (N, classes, h, w) logits.

        h = ceil(H / output stride) without the decoder, ceil(H / 4) with it. On int8 grids the
        last bit of a sum can become a whole step, and sums depend on how many pictures a kernel
        is given: such a network looks at one picture at a time, whatever the batch.
        """
        if self.layout.rounded and len(pixels) > 1 and not torch.compiler.is_exporting():
            return torch.cat([self._logits(picture[None]) for picture in pixels])
        return self._logits(pixels)

    def _logits(self, pixels: Tensor) -> Tensor:
        features, low_level = self.backbone(pixels)
        features = self.aspp(features)
        if self.decoder is not None:
            features = self.decoder(features, low_level)
        return self.classifier(features)  # type: ignore[no-any-return]


def resize_bilinear(features: Tensor, size_hw: tuple[int, int], alignment: str) -> Tensor:
    """(N, C, h, w) -> (N, C, *size_hw) by TensorFlow's two TF1 rules: align_corners or legacy.

    ``legacy`` reads position i * h / H, beyond the last row the last row itself: PyTorch has no
    such rule, so the two neighbours are gathered and mixed here.
    """
    if alignment == "align_corners":
        return F.interpolate(features, size_hw, mode="bilinear", align_corners=True)
    for dim, size in ((2, size_hw[0]), (3, size_hw[1])):
        features = _legacy_axis(features, dim, size)
    return features


def _legacy_axis(features: Tensor, dim: int, size: int) -> Tensor:
    points = features.shape[dim]
    position = torch.arange(size, device=features.device, dtype=torch.float32) * (points / size)
    lower = position.floor().clamp(max=points - 1)
    upper = (lower + 1).clamp(max=points - 1)
    shape = (-1, 1) if dim == 2 else (-1,)
    share = (position - lower).clamp(max=1).to(features.dtype).view(shape)
    below = features.index_select(dim, lower.long())
    return below.lerp(features.index_select(dim, upper.long()), share)


def expanded(widths: tuple[int, ...]) -> tuple[int, ...]:
    """The channels within each block where nothing is rounded: six times those of its input."""
    channels = [widths[0]]
    for group, repeats in enumerate(REPEATS):
        channels += [widths[group + 1]] * repeats
    return (channels[0], *(_EXPANSION * before for before in channels[1:-1]))


def _blocks(
    widths: tuple[int, ...], output_stride: int, hidden: tuple[int, ...]
) -> list[InvertedResidual]:
    blocks: list[InvertedResidual] = []
    channels, reached, dilation = widths[0], 2, 1
    for group, (repeats, group_stride) in enumerate(zip(REPEATS, _STRIDES, strict=True)):
        for repeat in range(repeats):
            wanted = group_stride if repeat == 0 else 1
            stride = wanted if reached * wanted <= output_stride else 1
            blocks.append(
                InvertedResidual(
                    channels,
                    widths[group + 1],
                    hidden=hidden[len(blocks)],
                    stride=stride,
                    dilation=dilation,
                )
            )
            reached, channels = reached * stride, widths[group + 1]
            dilation *= wanted // stride  # from the block after the one that kept its resolution
    return blocks


def build(
    num_classes: int,
    *,
    width: float = 1.0,
    output_stride: int = 8,
    decoder: bool = False,
    alignment: str = "align_corners",
    rounded: bool = False,
) -> TfMobileNetV2DeepLab:
    """The network with random weights, for a spec's options; ``width`` 0.5 or 1.0."""
    widths = {0.5: WIDTHS_X05, 1.0: WIDTHS_X10}[width]
    return build_layout(
        num_classes,
        widths=widths,
        output_stride=output_stride,
        decoder=decoder,
        alignment=alignment,
        rounded=rounded,
    )


def build_layout(num_classes: int, **layout: Any) -> TfMobileNetV2DeepLab:
    """The network of a MobileNetV2Layout's fields (an imported model keeps them as its options)."""
    return TfMobileNetV2DeepLab(MobileNetV2Layout(num_classes=num_classes, **layout))
