"""DeepLabv3 on ResNet in its two published arrangements: in parallel (ASPP), and in cascade.

Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation". Parallel,
section 3.3: ASPP on the last stage, multi-grid (1, 2, 4). Cascaded, section 3.2: copies of the
last stage follow as blocks 5, 6 and 7, each at twice the rate of the one before it; multi-grid
(1, 2, 1) was the best with seven blocks.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Final

import torch
from torch import nn

from maskmill.pipeline.models.networks.aspp import ASPP, Separable, conv_norm_relu, rates_at
from maskmill.pipeline.models.networks.encoders import build_encoder, feature_channels, set_rate
from maskmill.schemas.errors import SettingsError

PARALLEL_GRID: Final = (1, 2, 4)
CASCADED_GRID: Final = (1, 2, 1)
LAST_BLOCK: Final = 7
_FIRST_COPY: Final = 5


class DeepLabV3(nn.Module):
    """Normalised images (N, 3, H, W) -> logits (N, classes, ⌈H/stride⌉, ⌈W/stride⌉)."""

    def __init__(
        self, encoder: nn.Module, context: nn.Module, channels: int, num_classes: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.context = context
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) float, normalised -> (N, classes, h, w) float logits."""
        logits: torch.Tensor = self.classifier(self.context(self.encoder(images)[-1]))
        return logits


def build_parallel(
    num_classes: int,
    *,
    encoder: str = "resnet50",
    output_stride: int = 16,
    multi_grid: Sequence[int] | None = PARALLEL_GRID,
    aspp_rates: Sequence[int] | None = None,
    eager_rates: bool = False,
    early_padding: bool = False,
    last_rates: Sequence[int] | None = None,
    aspp_channels: int = 256,
    aspp_separable: Separable = "none",
    aspp_project_kernel: int = 1,
    refine: bool = False,
    dropout: float = 0.1,
    pool_window: tuple[int, int] | None = None,
    norm_groups: int | None = None,
) -> DeepLabV3:
    """An untrained DeepLabv3 with ASPP and ``num_classes`` logits (1: a sigmoid head).

    ``refine`` puts a 3×3 convolution before the classifier: not in the paper, but in torchvision
    and what follows it.

    Raises:
        SettingsError: no class, an unknown encoder, or an option outside its range.
    """
    _refuse_no_classes(num_classes)
    body = build_encoder(
        encoder,
        output_stride=output_stride,
        multi_grid=multi_grid,
        eager_rates=eager_rates,
        early_padding=early_padding,
        last_rates=last_rates,
    )
    context: list[nn.Module] = [
        ASPP(
            feature_channels(body)[-1], aspp_rates or rates_at(output_stride),
            channels=aspp_channels, separable=aspp_separable,
            project_kernel=aspp_project_kernel, dropout=dropout, pool_window=pool_window,
        )
    ]  # fmt: skip
    if refine:
        context.append(conv_norm_relu(aspp_channels, aspp_channels, 3))
    network = DeepLabV3(body, nn.Sequential(*context), aspp_channels, num_classes)
    if norm_groups is not None:
        _group_norms(network, norm_groups)
    return network


def _group_norms(network: nn.Module, groups: int) -> None:
    """Group norm (Wu and He 2018) in the place of every batch norm."""
    for path, norm in list(network.named_modules()):
        if isinstance(norm, nn.BatchNorm2d):
            if norm.num_features % groups:
                raise SettingsError(f"{norm.num_features} channels make no {groups} equal groups")
            parent, _, child = path.rpartition(".")
            grouped = nn.GroupNorm(groups, norm.num_features)
            setattr(network.get_submodule(parent), child, grouped)


def build_cascaded(
    num_classes: int,
    *,
    encoder: str = "resnet50",
    output_stride: int = 16,
    multi_grid: Sequence[int] = CASCADED_GRID,
    last_block: int = LAST_BLOCK,
) -> DeepLabV3:
    """An untrained DeepLabv3 of ``last_block`` blocks (4 to 7), the fifth on copies of the fourth.

    At output stride 16 blocks 4, 5, 6, 7 have rates 2, 4, 8, 16 (twice that at 8), each times
    ``multi_grid``: what strides of 2 between the blocks would have been.

    Raises:
        SettingsError: no class, an encoder whose last stage cannot be repeated, or a
            ``last_block`` outside 4 to 7.
    """
    _refuse_no_classes(num_classes)
    if not 4 <= last_block <= LAST_BLOCK:
        raise SettingsError(f"last block {last_block} is outside 4 to {LAST_BLOCK}")
    body = build_encoder(encoder, output_stride=output_stride, multi_grid=multi_grid)
    if not encoder.startswith("resnet"):
        raise SettingsError(f"cascaded blocks are made of ResNet stages; {encoder!r} has none")
    rate = 32 // output_stride
    copies = [
        _repeat_stage(body.get_submodule("layer4"), rate * 2 ** (block - 4), multi_grid)
        for block in range(_FIRST_COPY, last_block + 1)
    ]
    return DeepLabV3(body, nn.Sequential(*copies), feature_channels(body)[-1], num_classes)


def _repeat_stage(stage: nn.Module, rate: int, multi_grid: Sequence[int]) -> nn.Sequential:
    """A stage like ``stage`` at another rate, freshly initialised, its input as wide as its output.

    The first unit needs no projection shortcut any more: neither width nor size changes there.
    """
    units = list(deepcopy(stage).children())
    first = type(units[0])(**_widths(units[1]))
    chain = nn.Sequential(first, *units[1:])
    for unit, factor in zip(chain, multi_grid, strict=True):
        conv = unit.get_submodule("conv2")
        assert isinstance(conv, nn.Conv2d)
        set_rate(conv, rate * factor)
    _reset(chain)
    return chain


def _widths(unit: nn.Module) -> dict[str, int]:
    conv = unit.get_submodule("conv1")
    assert isinstance(conv, nn.Conv2d)
    return {"inplanes": conv.in_channels, "planes": conv.out_channels}


def _reset(stage: nn.Module) -> None:
    """Initialise as timm's ResNet does (He, fan out), rather than with copied weights."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _refuse_no_classes(num_classes: int) -> None:
    if num_classes < 1:
        raise SettingsError(f"{num_classes} classes; a head needs at least one")
