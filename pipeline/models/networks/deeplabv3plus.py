"""DeepLabv3+: encoder, ASPP, and a decoder that brings back the edges.

Chen et al. 2018, "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation": the ASPP features are upsampled to stride 4, joined with low-level features reduced
to 48 channels, refined by two 3×3 convolutions of 256 channels, and classified.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from maskmill.pipeline.models.networks.aspp import ASPP, Separable, conv_norm_relu, rates_at
from maskmill.pipeline.models.networks.encoders import LOW_LEVEL, build_encoder, feature_channels
from maskmill.schemas.errors import SettingsError


class Decoder(nn.Module):
    """ASPP features (N, C, h, w) and low-level features (N, L, 4h, 4w) -> (N, channels, 4h, 4w).

    The concatenation order is: upsampled ASPP features, projected low-level features.
    """

    def __init__(
        self,
        in_channels: int,
        low_level_channels: int,
        *,
        channels: int,
        project_channels: int,
        project_kernel: int,
        convs: int,
        kernel: int,
        separable: Separable,
        align_corners: bool,
    ) -> None:
        super().__init__()
        self.low_level = conv_norm_relu(low_level_channels, project_channels, project_kernel)
        widths = [in_channels + project_channels, *[channels] * convs]
        self.refine = nn.Sequential(
            *(
                conv_norm_relu(before, after, kernel, separable=separable)
                for before, after in pairwise(widths)
            )
        )
        self.align_corners = align_corners

    def forward(self, features: torch.Tensor, low_level: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w) and (N, L, 4h, 4w) float -> (N, channels, 4h, 4w) float."""
        edges = self.low_level(low_level)
        features = functional.interpolate(
            features, size=edges.shape[2:], mode="bilinear", align_corners=self.align_corners
        )
        refined: torch.Tensor = self.refine(torch.cat([features, edges], dim=1))
        return refined


class DeepLabV3Plus(nn.Module):
    """Normalised images (N, 3, H, W) -> logits (N, classes, ⌈H/4⌉, ⌈W/4⌉), not upsampled."""

    def __init__(
        self,
        encoder: nn.Module,
        aspp: ASPP,
        decoder: Decoder,
        *,
        aspp_channels: int,
        channels: int,
        num_classes: int,
        aspp_conv: Separable | None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.aspp = aspp
        self.aspp_conv = (
            nn.Identity()
            if aspp_conv is None
            else conv_norm_relu(aspp_channels, aspp_channels, 3, separable=aspp_conv)
        )
        self.decoder = decoder
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) float, normalised -> (N, classes, ⌈H/4⌉, ⌈W/4⌉) float logits."""
        features = self.encoder(images)
        context = self.aspp_conv(self.aspp(features[-1]))
        logits: torch.Tensor = self.classifier(self.decoder(context, features[LOW_LEVEL]))
        return logits


def build(
    num_classes: int,
    *,
    encoder: str = "resnet50",
    output_stride: int = 16,
    multi_grid: Sequence[int] | None = None,
    eager_rates: bool = False,
    early_padding: bool = False,
    last_rates: Sequence[int] | None = None,
    aspp_rates: Sequence[int] | None = None,
    aspp_channels: int = 256,
    aspp_separable: Separable = "none",
    aspp_project_kernel: int = 1,
    aspp_project_separable: Separable = "none",
    aspp_conv: Separable | None = None,
    pool_window: tuple[int, int] | None = None,
    dropout: float = 0.1,
    decoder_channels: int = 256,
    decoder_project_channels: int = 48,
    decoder_project_kernel: int = 1,
    decoder_convs: int = 2,
    decoder_kernel: int = 3,
    decoder_separable: Separable = "none",
    align_corners: bool = True,
) -> DeepLabV3Plus:
    """An untrained DeepLabv3+ with ``num_classes`` logits (1: a sigmoid head).

    ``aspp_rates`` None: 6, 12, 18 at output stride 16 and twice that at 8. ``aspp_conv``: one
    more 3×3 after ASPP (segmentation-models-pytorch has it). ``pool_window``: what image pooling
    averages at once, None for all. ``align_corners`` is what the
    paper's code does: input sizes of the form 16k + 1 then put every grid point on a pixel. The
    ``alignment`` of a ModelSpec must say the same.

    Raises:
        SettingsError: no class, or an option outside its range.
    """
    if num_classes < 1:
        raise SettingsError(f"{num_classes} classes; a head needs at least one")
    body = build_encoder(
        encoder,
        output_stride=output_stride,
        multi_grid=multi_grid,
        eager_rates=eager_rates,
        early_padding=early_padding,
        last_rates=last_rates,
    )
    channels = feature_channels(body)
    return DeepLabV3Plus(
        body,
        ASPP(
            channels[-1], aspp_rates or rates_at(output_stride), channels=aspp_channels,
            separable=aspp_separable, project_kernel=aspp_project_kernel,
            project_separable=aspp_project_separable, dropout=dropout, pool_window=pool_window,
        ),
        Decoder(
            aspp_channels, channels[LOW_LEVEL], channels=decoder_channels,
            project_channels=decoder_project_channels, project_kernel=decoder_project_kernel,
            convs=decoder_convs, kernel=decoder_kernel,
            separable=decoder_separable, align_corners=align_corners,
        ),
        aspp_channels=aspp_channels, channels=decoder_channels, num_classes=num_classes,
        aspp_conv=aspp_conv,
    )  # fmt: skip
