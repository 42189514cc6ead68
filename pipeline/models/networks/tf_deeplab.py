"""TensorFlow DeepLab's DeepLabv3 and DeepLabv3+ on any of its encoders that are read here.

Facts of its graphs: ASPP is image pooling (of the whole map, or of windows that slide over it),
one 1x1, and atrous 3x3 branches, separable or not, concatenated in this order and projected; each
has ReLU, within the separable ones too. The decoder joins the upsampled ASPP with 48 channels
made of features at stride 4 and refines twice. All resizes align corners. Batch norm is folded.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskmill.pipeline.models.networks import tf_resnet, tf_xception
from maskmill.pipeline.models.networks.same_convolution import SameConv2d
from maskmill.pipeline.models.networks.tf_mobilenetv2 import MobileNetV2Backbone
from maskmill.pipeline.models.networks.tf_xception import SplitSeparable

MOBILENET = "mobilenet_v2"


@dataclass(frozen=True, slots=True, kw_only=True)
class TfDeepLabLayout:
    """What distinguishes one network of TensorFlow DeepLab from another.

    ``encoder`` is its model_variant. ``widths`` and ``hidden`` are MobileNetV2's (see
    MobileNetV2Layout). ``multi_grid`` are the extra rates of the last block's three units.
    ``aspp_channels`` 0: no ASPP at all, the logits are made of the encoder's features.
    ``pooling_window`` is (rows, columns) of features that image pooling averages at once, with
    ``pooling_step`` between; None: the whole map. ``decoder_channels`` 0: no decoder.
    """

    encoder: str
    output_stride: int
    num_classes: int
    widths: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    multi_grid: tuple[int, ...] = (1, 1, 1)
    aspp_channels: int = 256
    pooling: bool = True
    pooling_window: tuple[int, int] | None = None
    pooling_step: tuple[int, int] = (1, 1)
    atrous_rates: tuple[int, ...] = ()
    separable_aspp: bool = True
    decoder_channels: int = 0
    low_level_channels: int = 48
    separable_decoder: bool = True

    @property
    def grid_stride(self) -> int:
        """Pixels per point of the logits."""
        return 4 if self.decoder_channels else self.output_stride


class TfAspp(nn.Module):
    """Image pooling, 1x1 and atrous branches, concatenated and projected."""

    def __init__(self, channels_in: int, layout: TfDeepLabLayout) -> None:
        super().__init__()
        channels = layout.aspp_channels
        self.window, self.step = layout.pooling_window, layout.pooling_step
        self.pooling = (
            SameConv2d(channels_in, channels, activation="relu") if layout.pooling else None
        )
        self.branch = SameConv2d(channels_in, channels, activation="relu")
        self.atrous = nn.ModuleList(
            _convolution3x3(channels_in, channels, separable=layout.separable_aspp, rate=rate)
            for rate in layout.atrous_rates
        )
        branches = 1 + len(self.atrous) + (self.pooling is not None)
        self.projection = SameConv2d(branches * channels, channels, activation="relu")

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, channels, h, w)."""
        seen = [branch(features) for branch in (self.branch, *self.atrous)]
        if self.pooling is not None:
            pooled = self.pooling(self._averaged(features))
            if pooled.shape[2:] == (1, 1):
                seen.insert(0, pooled.expand(-1, -1, *features.shape[2:]))
            else:
                size = (features.shape[2], features.shape[3])
                seen.insert(0, F.interpolate(pooled, size, mode="bilinear", align_corners=True))
        return self.projection(torch.cat(seen, dim=1))  # type: ignore[no-any-return]

    def _averaged(self, features: Tensor) -> Tensor:
        height, width = features.shape[2:]
        if self.window is None or (self.window[0] >= height and self.window[1] >= width):
            return features.mean((2, 3), keepdim=True)
        window = (min(self.window[0], height), min(self.window[1], width))
        return F.avg_pool2d(features, window, self.step)


class TfDecoder(nn.Module):
    """Low-level features reduced, joined with the upsampled rest, refined twice."""

    def __init__(self, channels_in: int, low_level_in: int, layout: TfDeepLabLayout) -> None:
        super().__init__()
        self.low_level = SameConv2d(low_level_in, layout.low_level_channels, activation="relu")
        channels, joined = layout.decoder_channels, channels_in + layout.low_level_channels
        separable = layout.separable_decoder
        self.refine = nn.Sequential(
            _convolution3x3(joined, channels, separable=separable),
            _convolution3x3(channels, channels, separable=separable),
        )

    def forward(self, features: Tensor, low_level: Tensor) -> Tensor:
        """(N, C, h, w) and (N, C', H, W) -> (N, channels, H, W)."""
        reduced = self.low_level(low_level)
        size = (reduced.shape[2], reduced.shape[3])
        coarse = F.interpolate(features, size, mode="bilinear", align_corners=True)
        return self.refine(torch.cat((coarse, reduced), dim=1))  # type: ignore[no-any-return]


class TfDeepLab(nn.Module):
    """The whole network, up to the logits on their own grid."""

    def __init__(self, layout: TfDeepLabLayout) -> None:
        super().__init__()
        self.layout = layout
        self.backbone: nn.Module = _backbone(layout)
        channels: Any = self.backbone.channels
        low_level_in: Any = self.backbone.low_level_channels
        self.aspp = TfAspp(channels, layout) if layout.aspp_channels else None
        channels = layout.aspp_channels or channels
        decodes = bool(layout.decoder_channels)
        self.decoder = TfDecoder(channels, low_level_in, layout) if decodes else None
        channels = layout.decoder_channels or channels
        self.classifier = SameConv2d(channels, layout.num_classes, activation="none")

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) float, normalised -> (N, classes, h, w) logits.

        h = ceil(H / output stride) without the decoder, ceil(H / 4) with it.
        """
        features, low_level = self.backbone(pixels)
        if self.aspp is not None:
            features = self.aspp(features)
        if self.decoder is not None:
            features = self.decoder(features, low_level)
        return self.classifier(features)  # type: ignore[no-any-return]


def _backbone(layout: TfDeepLabLayout) -> nn.Module:
    if layout.encoder == MOBILENET:
        return MobileNetV2Backbone(layout.widths, layout.output_stride, layout.hidden)
    kind = (
        tf_xception.XceptionBackbone
        if layout.encoder in tf_xception.VARIANTS
        else tf_resnet.ResNetBackbone
    )
    return kind(layout.encoder, layout.output_stride, layout.multi_grid)


def _convolution3x3(
    channels_in: int, channels_out: int, *, separable: bool, rate: int = 1
) -> nn.Module:
    if separable:
        return SplitSeparable(channels_in, channels_out, relu=True, rate=rate)
    return SameConv2d(channels_in, channels_out, 3, activation="relu", dilation=rate)


def build_layout(num_classes: int, **layout: Any) -> TfDeepLab:
    """The network of a TfDeepLabLayout's fields (an imported model keeps them as its options)."""
    return TfDeepLab(TfDeepLabLayout(num_classes=num_classes, **layout))
