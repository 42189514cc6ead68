"""DRN-D-54 (Yu et al. 2017, "Dilated Residual Networks"), as jfzhang's DeepLab uses it.

A ResNet of stride 8 whose last stages are dilated by 2 and 4, ending in two plain convolutions
without shortcut, which remove the gridding that rates leave.
"""

import torch
from torch import nn

from maskmill.pipeline.models.networks.xception import FeatureInfo

_STAGES = (
    (64, 3, 2, 1),
    (128, 4, 2, 1),
    (256, 6, 1, 2),
    (512, 3, 1, 4),
)  # planes, units, stride, rate
_EXPANSION = 4


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 with a shortcut: (N, C, h, w) -> (N, 4 planes, h', w')."""

    def __init__(self, before: int, planes: int, *, stride: int, rate: int) -> None:
        super().__init__()
        after = planes * _EXPANSION
        self.conv1 = nn.Conv2d(before, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, rate, rate, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample: nn.Module | None = None
        if stride > 1 or before != after:
            shortcut = nn.Conv2d(before, after, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(after))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """See the class."""
        kept = features if self.downsample is None else self.downsample(features)
        hidden = self.bn1(self.conv1(features)).relu()
        hidden = self.bn2(self.conv2(hidden)).relu()
        return (self.bn3(self.conv3(hidden)) + kept).relu()  # type: ignore[no-any-return]


class DRN(nn.Module):
    """(N, 3, H, W) -> [stride 2, stride 4, stride 8] features of 32, 256, 512 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.layer0 = _plain(3, 16, kernel=7)
        self.layer1 = _plain(16, 16)
        self.layer2 = _plain(16, 32, stride=2)
        before = 32
        for place, (planes, units, stride, rate) in enumerate(_STAGES):
            stage = nn.Sequential()
            for unit in range(units):
                stage.append(
                    Bottleneck(before, planes, stride=stride if unit == 0 else 1, rate=rate)
                )
                before = planes * _EXPANSION
            self.add_module(f"layer{place + 3}", stage)
        self.layer7 = _plain(before, 512, rate=2)
        self.layer8 = _plain(512, 512)
        self.feature_info = FeatureInfo((32, 256, 512))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """See the class."""
        fine = self.layer2(self.layer1(self.layer0(images)))
        low = self.get_submodule("layer3")(fine)
        features = low
        for place in range(4, 9):
            features = self.get_submodule(f"layer{place}")(features)
        return [fine, low, features]


def _plain(
    before: int, after: int, *, kernel: int = 3, stride: int = 1, rate: int = 1
) -> nn.Sequential:
    padding = rate * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, padding, rate, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )
