"""Encoders: timm classification networks whose late strides are traded for atrous convolution.

The rule (Chen et al. 2017, "Rethinking Atrous Convolution", section 3.1; the same that timm and
torchvision follow): where the features are already as coarse as the output stride allows, a
convolution loses its stride, and every later one is dilated by what was lost. Weights do not
change, so one checkpoint serves every output stride.

It is applied here to the undilated network rather than by timm's ``output_stride``: timm 1.0.31
leaves a shortcut convolution out of xception71 at output stride 8, so those weights would not fit.
"""

from collections.abc import Sequence
from functools import partial
from types import MappingProxyType
from typing import Final

from torch import nn

from maskmill.pipeline.models.networks.foreign_encoders import FOREIGN_ENCODERS
from maskmill.pipeline.models.networks.rates import EncoderSpec as EncoderSpec
from maskmill.pipeline.models.networks.rates import pad_before_expansion as pad_before_expansion
from maskmill.pipeline.models.networks.rates import set_rate as set_rate
from maskmill.pipeline.models.networks.rates import (
    trade_strides_for_rates as trade_strides_for_rates,
)
from maskmill.schemas.errors import SettingsError

OUTPUT_STRIDES: Final = (8, 16)
LOW_LEVEL: Final = 1
"""Position of the stride-4 features that the decoder reads among the five an encoder returns."""

_BOTTLENECKS = tuple(f"layer4.{unit}.conv2" for unit in range(3))
_DEEP_STEM = MappingProxyType({"stem_type": "deep", "stem_width": 32})

ENCODERS: Final[dict[str, EncoderSpec]] = {
    "resnet18": EncoderSpec(timm_name="resnet18"),
    "resnet34": EncoderSpec(timm_name="resnet34"),
    "resnet50": EncoderSpec(timm_name="resnet50", multi_grid=_BOTTLENECKS),
    "resnet101": EncoderSpec(timm_name="resnet101", multi_grid=_BOTTLENECKS),
    "resnet50_deep_stem": EncoderSpec(
        timm_name="resnet50", multi_grid=_BOTTLENECKS, options=_DEEP_STEM
    ),
    "resnet101_deep_stem": EncoderSpec(
        timm_name="resnet101", multi_grid=_BOTTLENECKS, options=_DEEP_STEM
    ),
    "xception65": EncoderSpec(
        timm_name="xception65",
        multi_grid=tuple(f"blocks_20.stack.conv{unit}.conv_dw" for unit in (1, 2, 3)),
    ),
    "xception71": EncoderSpec(
        timm_name="xception71",
        multi_grid=tuple(f"blocks_22.stack.conv{unit}.conv_dw" for unit in (1, 2, 3)),
    ),
    "mobilenetv2": EncoderSpec(timm_name="mobilenetv2_100"),
    "mobilenetv3_large": EncoderSpec(timm_name="mobilenetv3_large_100"),
}


def build_encoder(
    name: str,
    *,
    output_stride: int = 16,
    multi_grid: Sequence[int] | None = None,
    eager_rates: bool = False,
    early_padding: bool = False,
    last_rates: Sequence[int] | None = None,
) -> nn.Module:
    """An untrained encoder: (N, 3, H, W) float -> feature maps, mostly five: strides 2, 4, 8, …

    Strides stop growing at ``output_stride``. ``multi_grid``: factors on the rate of the last
    stage's units, for example (1, 2, 4); None leaves the rates to the rule above.
    ``eager_rates``: see :func:`trade_strides_for_rates`. ``early_padding``: see
    :func:`pad_before_expansion`. ``last_rates``: rates of the last stage's units at output stride
    16 (twice that at 8), for projects that follow no rule.

    Raises:
        SettingsError: an unknown encoder, an output stride other than 8 and 16, or multi-grid
            where the encoder has none or another number of units.
    """
    spec = encoder_spec(name)
    if output_stride not in OUTPUT_STRIDES:
        raise SettingsError(f"output stride {output_stride} is not one of 8, 16")
    encoder = (spec.builder or partial(_timm_encoder, spec))(output_stride, eager_rates)
    if multi_grid is not None:
        _apply_multi_grid(encoder, name, spec, 32 // output_stride, multi_grid)
    if last_rates is not None:
        _apply_multi_grid(encoder, name, spec, 16 // output_stride, last_rates)
    if early_padding:
        pad_before_expansion(encoder, name)
    return encoder


def encoder_spec(name: str) -> EncoderSpec:
    """The entry of an encoder, ours or another project's.

    Raises:
        SettingsError: an unknown encoder.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    if name not in FOREIGN_ENCODERS:
        known = ", ".join((*ENCODERS, *FOREIGN_ENCODERS))
        raise SettingsError(f"no encoder {name!r}; there are: {known}")
    return FOREIGN_ENCODERS[name]


def _timm_encoder(spec: EncoderSpec, output_stride: int, eager: bool) -> nn.Module:
    import timm  # its import takes a second, and most models have no need of it

    encoder: nn.Module = timm.create_model(
        spec.timm_name, features_only=True, pretrained=False, **spec.options
    )
    trade_strides_for_rates(encoder, output_stride, eager=eager)
    return encoder


def feature_channels(encoder: nn.Module) -> tuple[int, ...]:
    """Channels of the five feature maps of an encoder of :func:`build_encoder`."""
    return tuple(encoder.feature_info.channels())  # type: ignore[operator, union-attr]


def atrous_rates(network: nn.Module) -> dict[str, int]:
    """Module name -> rate, for every convolution with a kernel larger than 1×1."""
    return {
        name: int(module.dilation[0])
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size[0] > 1
    }


def _apply_multi_grid(
    encoder: nn.Module, name: str, spec: EncoderSpec, rate: int, factors: Sequence[int]
) -> None:
    if len(factors) != len(spec.multi_grid):
        raise SettingsError(
            f"multi-grid {tuple(factors)} needs {len(factors)} units in the last stage; "
            f"encoder {name!r} has {len(spec.multi_grid) or 'none'}"
        )
    for path, factor in zip(spec.multi_grid, factors, strict=True):
        conv = encoder.get_submodule(path)
        assert isinstance(conv, nn.Conv2d)
        set_rate(conv, rate * factor)
