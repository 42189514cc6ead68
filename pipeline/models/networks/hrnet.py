"""HRNet v2 as VainF's DeepLabV3Plus-Pytorch has it: an encoder that never leaves stride 4.

Wang et al. 2019, "Deep High-Resolution Representation Learning for Visual Recognition": branches
of stride 4, 8, 16 and 32 side by side, exchanged after every four blocks, joined at stride 4.
"""

from typing import Final

import torch
from timm.models.resnet import BasicBlock, Bottleneck
from torch import nn
from torch.nn import functional

from maskmill.pipeline.models.networks.xception import FeatureInfo

MODULES: Final = (1, 4, 3)
"""Exchanges in the stages of two, three and four branches."""

_BLOCKS: Final = 4
_STEM: Final = 64


def _step(before: int, after: int, *, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after))


def _rectified(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(*_step(before, after, stride=stride), nn.ReLU())


class Exchange(nn.Module):
    """Branches through four blocks each, then every one the sum of all, resized and rectified."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, width) for _ in range(_BLOCKS))) for width in widths
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self._path(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    @staticmethod
    def _path(widths: tuple[int, ...], source: int, target: int) -> nn.Module:
        """From one branch to another: 1x1 upwards, convolutions of stride 2 downwards."""
        before, after = widths[source], widths[target]
        if source >= target:
            return nn.Identity() if source == target else _step(before, after, kernel=1)
        halves = (_rectified(before, before, 2) for _ in range(target - source - 1))
        return nn.Sequential(*halves, _step(before, after, stride=2))

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """Maps of (N, C, h, w), each half the size of the one before -> the same shapes."""
        features = [branch(one) for branch, one in zip(self.branches, features, strict=True)]
        return [
            self._joined(paths, features, target.shape[2:]).relu()
            for paths, target in zip(self.fuse_layers, features, strict=True)
        ]

    @staticmethod
    def _joined(paths: nn.Module, features: list[torch.Tensor], size: torch.Size) -> torch.Tensor:
        """Sum at one branch's size; the factors are powers of two for sides of 32 n pixels."""
        total: torch.Tensor | None = None
        for path, one in zip(paths.children(), features, strict=True):
            brought = path(one)
            if brought.shape[2:] != size:
                brought = functional.interpolate(brought, size, mode="nearest")
            total = brought if total is None else total + brought
        assert total is not None
        return total


class HRNet(nn.Module):
    """(N, 3, H, W) -> features of stride 2, 4 (256 channels, for the decoder) and 4 (the last)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = tuple(width * 2**branch for branch in range(_BLOCKS))
        self.conv1 = nn.Conv2d(3, _STEM, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        self.conv2 = nn.Conv2d(_STEM, _STEM, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(_STEM)
        channels = 4 * _STEM
        first = Bottleneck(_STEM, _STEM, downsample=_step(_STEM, channels, kernel=1))
        self.layer1 = nn.Sequential(first, *(Bottleneck(channels, _STEM) for _ in range(3)))
        self.transition1 = nn.ModuleList(
            (_rectified(channels, widths[0], 1), nn.Sequential(_rectified(channels, widths[1], 2)))
        )
        self.transition2 = _rectified(widths[1], widths[2], 2)
        self.transition3 = _rectified(widths[2], widths[3], 2)
        for stage, count in zip((2, 3, 4), MODULES, strict=True):
            exchanges = (Exchange(widths[:stage]) for _ in range(count))
            self.add_module(f"stage{stage}", nn.Sequential(*exchanges))
        self.feature_info = FeatureInfo((_STEM, channels, sum(widths)))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """See the class."""
        # No ReLU after the first norm: the project runs the children of its HRNet one by one, and
        # there is one ReLU among them, after the second.
        stem = self.bn1(self.conv1(images))
        low = self.layer1(self.bn2(self.conv2(stem)).relu())
        features = self.get_submodule("stage2")([change(low) for change in self.transition1])
        features = self.get_submodule("stage3")([*features, self.transition2(features[-1])])
        features = self.get_submodule("stage4")([*features, self.transition3(features[-1])])
        size = features[0].shape[2:]
        joined = [
            functional.interpolate(one, size, mode="bilinear", align_corners=False)
            for one in features[1:]
        ]
        return [stem, low, torch.cat([features[0], *joined], dim=1)]
