"""FOREIGN_ENCODERS: encoders of other projects' checkpoints, where ours would compute other values.

Each entry builds an untrained encoder at an output stride: a network of timm with that project's
changes, or one of our own modules. What is changed never touches names or shapes.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from maskmill.pipeline.models.networks import drn, xception
from maskmill.pipeline.models.networks.rates import (
    EncoderSpec,
    pad_before_expansion,
    set_rate,
    trade_strides_for_rates,
)

Builder = Callable[[int, bool], nn.Module]
"""(output stride, eager rates) -> encoder."""

_BOTTLENECKS: Final = tuple(f"layer4.{unit}.conv2" for unit in range(3))
_EFFICIENTNETS: Final = {  # picture size its padding is made for; first blocks at strides 16 and 32
    "b0": (224, 5, 9), "b1": (240, 8, 16), "b2": (260, 8, 16), "b3": (300, 8, 18),
    "b4": (380, 10, 22),
}  # fmt: skip


class PaddedConv2d(nn.Conv2d):
    """A convolution with its own number of zeros on each side: left, right, top, bottom."""

    sides: tuple[int, int, int, int] = (0, 0, 0, 0)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, D, H', W')."""
        return super().forward(functional.pad(features, self.sides))


class HeadedEncoder(nn.Module):
    """An encoder of timm with the 1×1 convolution of its classifier behind the last features."""

    def __init__(self, body: nn.Module, channels: int) -> None:
        super().__init__()
        widths = body.feature_info.channels()  # type: ignore[operator, union-attr]
        self.body = body
        self.head = nn.Sequential(
            nn.Conv2d(widths[-1], channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU6()
        )
        self.feature_info = xception.FeatureInfo((*widths[:-1], channels))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(N, 3, H, W) -> five feature maps, strides 2, 4, 8, …"""
        features: list[torch.Tensor] = self.body(images)
        return [*features[:-1], self.head(features[-1])]


def _timm(name: str, **options: Any) -> nn.Module:
    import timm  # its import takes a second, and most models have no need of it

    network: nn.Module = timm.create_model(name, features_only=True, pretrained=False, **options)
    return network


def _traded(output_stride: int, eager: bool, *, timm_name: str, **options: Any) -> nn.Module:
    encoder = _timm(timm_name, **options)
    trade_strides_for_rates(encoder, output_stride, eager=eager)
    return encoder


def _mobilenetv2_headed(output_stride: int, eager: bool) -> nn.Module:
    """segmentation-models-pytorch's mobilenet_v2, which keeps the classifier's 1280 channels."""
    encoder = HeadedEncoder(_timm("mobilenetv2_100"), 1280)
    trade_strides_for_rates(encoder, output_stride, eager=eager)
    return encoder


def _mobilenetv2_staged(output_stride: int, _: bool) -> nn.Module:
    """jfzhang's mobilenet: one rate for all units of a stage; padding before the expansion."""
    encoder = _timm("mobilenetv2_100")
    trade_strides_for_rates(encoder, output_stride)
    for stage in encoder.get_submodule("blocks").children():
        units = list(stage.children())
        first = units[0].get_submodule("conv_dw")
        assert isinstance(first, nn.Conv2d)
        for unit in units[1:]:
            conv = unit.get_submodule("conv_dw")
            assert isinstance(conv, nn.Conv2d)
            set_rate(conv, first.dilation[0])
    pad_before_expansion(encoder, "mobilenetv2")
    stem = encoder.get_submodule("conv_stem")
    assert isinstance(stem, nn.Conv2d)
    stem.padding = (1, 1)
    return encoder


def _efficientnet(output_stride: int, _: bool, *, variant: str) -> nn.Module:
    """segmentation-models-pytorch's EfficientNet: padding fixed for one picture size.

    At its output strides whole runs of blocks lose their strides, from where its feature lists
    are cut; that is within a stage.
    """
    encoder = _timm(f"tf_efficientnet_{variant}")
    size, *starts = _EFFICIENTNETS[variant]
    _fix_padding(encoder, size)
    blocks = [
        block for stage in encoder.get_submodule("blocks").children() for block in stage.children()
    ]
    rates = {8: (2, 4), 16: (1, 2)}[output_stride]
    for start, rate, end in zip(starts, rates, (*starts[1:], len(blocks)), strict=True):
        if rate > 1:
            _dilate(blocks[start:end], rate)
    return encoder


def _fix_padding(encoder: nn.Module, size: int) -> None:
    """SAME padding for pictures of ``size``, kept for all others: depthwise after the stem's."""
    for path, conv in list(encoder.named_modules()):
        if not isinstance(conv, nn.Conv2d) or conv.kernel_size == (1, 1):
            continue
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        padded = PaddedConv2d(
            conv.in_channels, conv.out_channels, kernel, stride, groups=conv.groups, bias=False
        )
        padded.sides = (total // 2, total - total // 2) * 2
        parent, _, child = path.rpartition(".")
        setattr(encoder.get_submodule(parent), child, padded)
        size = math.ceil(size / stride)


def _dilate(blocks: Sequence[nn.Module], rate: int) -> None:
    for conv in (module for block in blocks for module in block.modules()):
        if isinstance(conv, PaddedConv2d):
            conv.stride, conv.sides = (1, 1), (0, 0, 0, 0)
            set_rate(conv, rate)


def _stride_first(encoder: nn.Module) -> None:
    """Strides on the first 1×1 of a bottleneck, as in the network of the ResNet paper."""
    for unit in encoder.modules():
        first, second = getattr(unit, "conv1", None), getattr(unit, "conv2", None)
        if (
            isinstance(first, nn.Conv2d)
            and isinstance(second, nn.Conv2d)
            and hasattr(unit, "conv3")
        ):
            first.stride, second.stride = second.stride, first.stride


def _caffe_resnet(output_stride: int, _: bool, *, timm_name: str) -> nn.Module:
    """kazuto1011's: strides first, a stem pool that rounds up, one rate for a whole stage."""
    encoder = _timm(timm_name)
    _stride_first(encoder)
    trade_strides_for_rates(encoder, output_stride, eager=True)
    pool = encoder.get_submodule("maxpool")
    assert isinstance(pool, nn.MaxPool2d)
    pool.ceil_mode = True  # only now: rounded sizes would hide the strides from the rule above
    return encoder


def _once_dilated(output_stride: int, eager: bool, *, timm_name: str, **options: Any) -> nn.Module:
    """mmsegmentation's ResNets of basic blocks: the second 3x3 of a block is never dilated."""
    encoder = _traded(output_stride, eager, timm_name=timm_name, **options)
    for unit in encoder.modules():
        second = getattr(unit, "conv2", None)
        if isinstance(second, nn.Conv2d):
            set_rate(second, 1)
    return encoder


def _first_dilated(output_stride: int, _: bool) -> nn.Module:
    """mmsegmentation's MobileNetV2: only the first unit of a stage is dilated, by the new rate."""
    encoder = _timm("mobilenetv2_100")
    trade_strides_for_rates(encoder, output_stride, eager=True)
    for stage in encoder.get_submodule("blocks").children():
        for unit in list(stage.children())[1:]:
            conv = unit.get_submodule("conv_dw")
            assert isinstance(conv, nn.Conv2d)
            set_rate(conv, 1)
    return encoder


def _three_convolutions(output_stride: int, eager: bool, *, timm_name: str) -> nn.Module:
    """chenxi116's "beta": the stem is three convolutions with nothing between them."""
    encoder = _timm(timm_name)
    encoder.conv1 = nn.Sequential(
        nn.Conv2d(3, 64, 3, 2, 1, bias=False),
        nn.Conv2d(64, 64, 3, 1, 1, bias=False),
        nn.Conv2d(64, 64, 3, 1, 1, bias=False),
    )
    trade_strides_for_rates(encoder, output_stride, eager=eager)
    return encoder


def _xception(output_stride: int, _: bool, *, name: str) -> nn.Module:
    return xception.build(name, output_stride)


def _hrnet(_: int, __: bool, *, width: int) -> nn.Module:
    from maskmill.pipeline.models.networks import hrnet  # it imports timm

    return hrnet.HRNet(width)


def _drn(_: int, __: bool) -> nn.Module:
    return drn.DRN()


def _stemmed(width: int) -> MappingProxyType[str, Any]:
    return MappingProxyType({"stem_type": "deep", "stem_width": width})


def _resnet(
    timm_name: str, builder: Callable[..., nn.Module] = _traded, **options: Any
) -> EncoderSpec:
    multi_grid = () if timm_name in ("resnet18", "resnet34") else _BOTTLENECKS
    build = partial(builder, timm_name=timm_name, **options)
    return EncoderSpec(timm_name=timm_name, multi_grid=multi_grid, builder=build)


FOREIGN_ENCODERS: Final[dict[str, EncoderSpec]] = {
    "resnet152": _resnet("resnet152"),
    "resnext50_32x4d": _resnet("resnext50_32x4d"),
    "resnext101_32x8d": _resnet("resnext101_32x8d"),
    "seresnet50": _resnet("legacy_seresnet50"),
    "seresnet101": _resnet("legacy_seresnet101"),
    "resnet18_once_dilated": _resnet("resnet18", _once_dilated),
    "resnet34_once_dilated": _resnet("resnet34", _once_dilated),
    "resnet18_deep_stem": _resnet("resnet18", _once_dilated, **_stemmed(32)),
    **{
        f"resnet{depth}_wide_stem": _resnet(f"resnet{depth}", **_stemmed(64))
        for depth in (50, 101, 152)
    },
    **{
        f"resnet{depth}_strides_first": _resnet(f"resnet{depth}", _caffe_resnet)
        for depth in (50, 101, 152)
    },
    **{
        f"resnet{depth}_three_convolutions": _resnet(f"resnet{depth}", _three_convolutions)
        for depth in (50, 101, 152)
    },
    "mobilenetv2_headed": EncoderSpec(timm_name="mobilenetv2_100", builder=_mobilenetv2_headed),
    "mobilenetv2_first_dilated": EncoderSpec(timm_name="mobilenetv2_100", builder=_first_dilated),
    "mobilenetv2_staged": EncoderSpec(timm_name="mobilenetv2_100", builder=_mobilenetv2_staged),
    "tf_mobilenetv3_large": EncoderSpec(
        timm_name="tf_mobilenetv3_large_100",
        builder=partial(_traded, timm_name="tf_mobilenetv3_large_100"),
    ),
    **{
        f"efficientnet_{variant}": EncoderSpec(
            timm_name=f"tf_efficientnet_{variant}", builder=partial(_efficientnet, variant=variant)
        )
        for variant in _EFFICIENTNETS
    },
    **{
        name: EncoderSpec(timm_name="", builder=partial(_xception, name=name))
        for name in xception.PLANS
    },
    **{
        f"hrnetv2_{width}": EncoderSpec(timm_name="", builder=partial(_hrnet, width=width))
        for width in (32, 48)
    },
    "drn_d_54": EncoderSpec(timm_name="", builder=_drn),
}
