"""Xception as three DeepLab projects wrote it, in one form; timm's xception65 is TensorFlow's.

They agree on the frame (Chollet 2017; aligned as in Chen et al. 2018, figure 4) and differ in
details that weights do not show: where norms and ReLUs stand in a separable convolution, whether a
shortcut sees the ReLU'd input, strided convolution or pooling, rates, and which features the
decoder reads. ``PLANS`` holds those details; read in the projects' code (see weights.layouts).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import torch
from torch import nn

Channels = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPlan:
    """One separable convolution. ``inner`` and ``outer``: norms after its two convolutions."""

    channels: tuple[int, int]
    stride: int = 1
    rate: int = 1
    padding: int | None = None  # None: what keeps the size
    relu_before: bool = True
    inner: bool = True
    relu_inside: bool = False
    outer: bool = True
    relu_after: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlan:
    """Units and a shortcut around them. ``tap``: the decoder reads the output of that unit."""

    units: tuple[UnitPlan, ...]
    shortcut_stride: int = 1
    shared_relu: bool = True  # the shortcut sees the input after the first unit's ReLU
    pool: int = 1
    tap: int | None = None
    relu_after: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class XceptionPlan:
    """A whole encoder. ``low_level``: which block's output the decoder reads (or its tap)."""

    blocks: tuple[BlockPlan, ...]
    exits: tuple[UnitPlan, ...]
    low_level: int = 0
    stem_padding: int = 1


class SeparableUnit(nn.Module):
    """(N, C, h, w) -> (N, D, h', w'): ReLU, depthwise 3×3, norm, 1×1, norm, as planned."""

    def __init__(self, plan: UnitPlan) -> None:
        super().__init__()
        before, after = plan.channels
        padding = plan.rate if plan.padding is None else plan.padding
        self.plan = plan
        self.depthwise = nn.Conv2d(
            before, before, 3, plan.stride, padding, plan.rate, groups=before, bias=False
        )
        self.depthwise_norm = nn.BatchNorm2d(before) if plan.inner else nn.Identity()
        self.conv = nn.Conv2d(before, after, 1, bias=False)
        self.norm = nn.BatchNorm2d(after) if plan.outer else nn.Identity()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """See the class."""
        if self.plan.relu_before:
            features = features.relu()
        features = self.depthwise_norm(self.depthwise(features))
        if self.plan.relu_inside:
            features = features.relu()
        features = self.norm(self.conv(features))
        return features.relu() if self.plan.relu_after else features


class Block(nn.Module):
    """Units with a shortcut: returns the output, and what the decoder would read of it."""

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        before, after = plan.units[0].channels[0], plan.units[-1].channels[1]
        self.plan = plan
        self.units = nn.ModuleList(SeparableUnit(unit) for unit in plan.units)
        self.pool = nn.MaxPool2d(3, plan.pool, 1) if plan.pool > 1 else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if before != after or plan.shortcut_stride > 1:
            conv = nn.Conv2d(before, after, 1, plan.shortcut_stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(after))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, C, h, w) -> two of (N, D, h', w')."""
        shared = self.plan.shared_relu and self.plan.units[0].relu_before
        kept = self.shortcut(features.relu() if shared else features)
        tapped = features
        for position, unit in enumerate(self.units):
            features = unit(features)
            tapped = features if position == self.plan.tap else tapped
        features = self.pool(features) + kept
        features = features.relu() if self.plan.relu_after else features
        return features, features if self.plan.tap is None else tapped


@dataclass(frozen=True, slots=True)
class FeatureInfo:
    """Channels of the features an encoder returns, as timm's encoders tell them."""

    widths: Channels = field(default=())

    def channels(self) -> list[int]:
        """In the order of the features."""
        return list(self.widths)


class Xception(nn.Module):
    """(N, 3, H, W) -> [stem, low-level, last] features; see PLANS."""

    def __init__(self, plan: XceptionPlan) -> None:
        super().__init__()
        padding = plan.stem_padding
        self.plan = plan
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, padding, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, 1, padding, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        )  # fmt: skip
        self.blocks = nn.ModuleList(Block(block) for block in plan.blocks)
        self.exits = nn.Sequential(*(SeparableUnit(unit) for unit in plan.exits))
        read = plan.blocks[plan.low_level]
        low = read.units[-1 if read.tap is None else read.tap].channels[1]
        self.feature_info = FeatureInfo((64, low, plan.exits[-1].channels[1]))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """See the class."""
        features = low = stem = self.stem(images)
        for position, block in enumerate(self.blocks):
            features, read = block(features)
            low = read if position == self.plan.low_level else low
        return [stem, low, self.exits(features)]


def _block(
    before: int, after: int, *, stride: int = 1, rate: int = 1, last_rate: int | None = None,
    narrow: bool = False, lead: bool = True, **options: Any,
) -> BlockPlan:  # fmt: skip
    """Three units; ``narrow``: channels grow in the second. The stride is the last one's."""
    middle = before if narrow else after
    first = UnitPlan(channels=(before, middle), rate=rate, relu_before=lead)
    second = UnitPlan(channels=(middle, after), rate=rate)
    third = UnitPlan(
        channels=(after, after), stride=stride, rate=rate if last_rate is None else last_rate
    )
    return BlockPlan(units=(first, second, third), shortcut_stride=stride, **options)


def _aligned(output_stride: int) -> XceptionPlan:
    """jfzhang's AlignedXception: the block's last unit is never dilated."""
    fine = output_stride == 8
    middle, exits = (2, (2, 4)) if fine else (1, (1, 2))
    blocks = (
        _block(64, 128, stride=2, lead=False, relu_after=True),
        _block(128, 256, stride=2),
        _block(256, 728, stride=1 if fine else 2),
        *(_block(728, 728, rate=middle) for _ in range(16)),
        _block(728, 1024, rate=exits[0], last_rate=1, narrow=True, relu_after=True),
    )
    return XceptionPlan(blocks=blocks, exits=_exits((1024, 1536, 1536, 2048), exits[1]))


def _exits(widths: Channels, rate: int, *, relu_inside: bool = False) -> tuple[UnitPlan, ...]:
    return tuple(
        UnitPlan(
            channels=pair, rate=rate, relu_before=False, relu_inside=relu_inside, relu_after=True
        )
        for pair in pairwise(widths)
    )


def _tapped(output_stride: int) -> XceptionPlan:
    """YudeWang's, which bubbliiiing took over: the decoder reads from within the second block."""
    rate = 16 // output_stride
    blocks = (
        _block(64, 128, stride=2, shared_relu=False),
        _block(128, 256, stride=2, shared_relu=False, tap=1),
        _block(256, 728, stride=2 if output_stride == 16 else 1, shared_relu=False),
        *(_block(728, 728, rate=rate) for _ in range(16)),
        _block(728, 1024, rate=rate, narrow=True, shared_relu=False),
    )
    exits = _exits((1024, 1536, 1536, 2048), rate, relu_inside=True)
    return XceptionPlan(blocks=blocks, exits=exits, low_level=1)


def _original(output_stride: int) -> XceptionPlan:
    """VainF's: Chollet's network with pooling, cut after its last 1×1; exits are not padded out."""
    fine = output_stride == 8
    middle, last = (2, 4) if fine else (1, 2)

    def block(widths: Channels, *, lead: bool = True, stride: int = 1, rate: int = 1) -> BlockPlan:
        units = tuple(
            UnitPlan(channels=pair, rate=rate, relu_before=lead or place > 0, inner=False)
            for place, pair in enumerate(pairwise(widths))
        )
        return BlockPlan(units=units, shortcut_stride=stride, pool=stride, shared_relu=False)

    blocks = (
        block((64, 128, 128), lead=False, stride=2),
        block((128, 256, 256), stride=2),
        block((256, 728, 728), stride=1 if fine else 2, rate=middle),
        *(block((728,) * 4, rate=middle) for _ in range(8)),
        block((728, 728, 1024), rate=last),
    )
    exits = (
        UnitPlan(channels=(1024, 1536), rate=last, padding=1, relu_before=False, inner=False,
                 relu_after=True),
        UnitPlan(channels=(1536, 2048), rate=last, padding=1, relu_before=False, inner=False,
                 outer=False),
    )  # fmt: skip
    return XceptionPlan(blocks=blocks, exits=exits, stem_padding=0)


PLANS: Final[dict[str, Callable[[int], XceptionPlan]]] = {
    "xception_aligned": _aligned,
    "xception_tapped": _tapped,
    "xception_original": _original,
}


def build(name: str, output_stride: int) -> Xception:
    """An untrained encoder of PLANS."""
    return Xception(PLANS[name](output_stride))
