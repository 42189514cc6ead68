"""TensorFlow DeepLab's Xception-41, -65 and -71, batch norm folded into weight and bias.

Facts of its graphs: separable convolutions with a ReLU before each and none within, but for the
last module, which has one after either half and none before; the third one of a module carries
its stride, padded alike on all sides; the shortcut is a strided 1x1, the input itself, or none.
Past the output stride, stride becomes dilation of what follows.
"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from maskmill.pipeline.models.networks.same_convolution import SameConv2d

Skip = Literal["convolution", "sum", "none"]

_MIDDLE_UNITS = {"xception_41": 8, "xception_65": 16, "xception_71": 16}
_SHORT_ENTRY = ((128, 2), (256, 2), (728, 2))
_LONG_ENTRY = ((128, 2), (256, 1), (256, 2), (728, 1), (728, 2))
_ENTRY = {"xception_41": _SHORT_ENTRY, "xception_65": _SHORT_ENTRY, "xception_71": _LONG_ENTRY}
_STEM = (32, 64)
VARIANTS = tuple(_ENTRY)


@dataclass(frozen=True, slots=True)
class _Module:
    """One Xception module: channels of its three convolutions, its shortcut, stride and rates."""

    widths: tuple[int, int, int]
    skip: Skip
    stride: int = 1
    inner_relu: bool = False
    rates: tuple[int, int, int] = (1, 1, 1)


class SplitSeparable(nn.Module):
    """Depthwise 3x3, then 1x1; an activation after both or after neither."""

    def __init__(
        self, channels_in: int, channels_out: int, *, relu: bool, stride: int = 1, rate: int = 1
    ) -> None:
        super().__init__()
        self.depthwise = SameConv2d(
            channels_in,
            channels_in,
            3,
            activation="relu" if relu else "none",
            stride=stride,
            dilation=rate,
            depthwise=True,
            explicit=True,
        )
        self.pointwise = SameConv2d(
            channels_in, channels_out, activation="relu" if relu else "none"
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C', h / stride, w / stride)."""
        return self.pointwise(self.depthwise(features))  # type: ignore[no-any-return]


class XceptionModule(nn.Module):
    """Three separable convolutions beside a shortcut."""

    def __init__(self, channels_in: int, module: _Module, stride: int, rate: int) -> None:
        super().__init__()
        self.skip, self.inner_relu = module.skip, module.inner_relu
        convolutions, channels = [], channels_in
        for position, width in enumerate(module.widths):
            convolutions.append(
                SplitSeparable(
                    channels,
                    width,
                    relu=module.inner_relu,
                    stride=stride if position == 2 else 1,
                    rate=rate * module.rates[position],
                )
            )
            channels = width
        self.convolutions = nn.ModuleList(convolutions)
        self.shortcut = (
            SameConv2d(channels_in, channels, activation="none", stride=stride)
            if module.skip == "convolution"
            else None
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, h, w) -> the module's output, and what its second convolution answered."""
        residual, second = features, features
        for position, convolution in enumerate(self.convolutions):
            residual = convolution(residual if self.inner_relu else F.relu(residual))
            second = residual if position == 1 else second
        if self.skip == "none":
            return residual, second
        return residual + (features if self.shortcut is None else self.shortcut(features)), second


class XceptionBackbone(nn.Module):
    """Stem, entry flow, middle flow and exit flow."""

    def __init__(self, variant: str, output_stride: int, multi_grid: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            SameConv2d(3, _STEM[0], 3, activation="relu", stride=2, explicit=True),
            SameConv2d(_STEM[0], _STEM[1], 3, activation="relu", explicit=True),
        )
        self.entry_units, self.middle_units = len(_ENTRY[variant]), _MIDDLE_UNITS[variant]
        entry = [
            _Module((width, width, width), "convolution", stride)
            for width, stride in _ENTRY[variant]
        ]
        middle = [_Module((728, 728, 728), "sum")] * self.middle_units
        first, second, third = multi_grid
        leave = [
            _Module((728, 1024, 1024), "convolution", 2),
            _Module((1536, 1536, 2048), "none", 1, True, (first, second, third)),
        ]
        self.units = nn.ModuleList(_stacked([*entry, *middle, *leave], output_stride))
        self.low_level_unit = 2 if variant == "xception_71" else 1
        self.channels, self.low_level_channels = 2048, 256

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) -> last features (N, 2048, H / OS, W / OS), low-level ones at stride 4."""
        features = self.stem(pixels)
        low_level = features
        for position, unit in enumerate(self.units):
            features, second = unit(features)
            if position == self.low_level_unit:
                low_level = second
        return features, low_level


def _stacked(modules: list[_Module], output_stride: int) -> list[XceptionModule]:
    units, channels, reached, rate = [], _STEM[-1], 2, 1
    for module in modules:
        if reached == output_stride:
            units.append(XceptionModule(channels, module, 1, rate))
            rate *= module.stride
        else:
            units.append(XceptionModule(channels, module, module.stride, 1))
            reached *= module.stride
        channels = module.widths[-1]
    return units
