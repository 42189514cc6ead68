"""Encoders: strides, atrous rates, equality with timm and with the undilated network."""

import pytest
import timm
import torch
from torch import nn

from maskmill.pipeline.models.networks.encoders import (
    ENCODERS,
    atrous_rates,
    build_encoder,
    feature_channels,
    trade_strides_for_rates,
)
from maskmill.schemas.errors import SettingsError
from tests.thorough import sampled

# One of each kind is enough; the others differ in depth only.
COMPARED = ("resnet18", "resnet50_deep_stem", "resnet101", "xception65", "xception71",
            "mobilenetv2", "mobilenetv3_large")  # fmt: skip
WITH_GLOBAL_POOLING = {"mobilenetv3_large"}  # squeeze-excitation sees all positions at once


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def settled(network: nn.Module) -> nn.Module:
    """Batch norms as after training, so that a wrong one shows; evaluation mode."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return network.double().eval()


def timm_encoder(name: str, **options) -> nn.Module:
    spec = ENCODERS[name]
    return timm.create_model(
        spec.timm_name, features_only=True, pretrained=False, **spec.options, **options
    )


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", sampled(COMPARED, 3))
@torch.no_grad()
def test_equals_timm_and_the_undilated_network(name, output_stride):
    undilated = settled(timm_encoder(name))
    ours = build_encoder(name, output_stride=output_stride)
    ours.load_state_dict(undilated.state_dict())  # strict: not one weight more or less
    ours.double().eval()
    images = torch.randn(1, 3, 33, 65, dtype=torch.float64)
    features = ours(images)
    assert [feature.shape[1] for feature in features] == list(feature_channels(ours))
    strides = [min(stride, output_stride) for stride in (2, 4, 8, 16, 32)]
    for feature, stride in zip(features, strides, strict=True):
        assert feature.shape[2:] == (32 // stride + 1, 64 // stride + 1)
    if name not in WITH_GLOBAL_POOLING:
        # A dilated network holds the coarse one: every k-th point is its output, borders too.
        step = 32 // output_stride
        coarse = undilated(images)[-1]
        torch.testing.assert_close(features[-1][..., ::step, ::step], coarse)
    if (name, output_stride) == ("xception71", 8):
        return  # timm drops a shortcut convolution here and cannot load the weights
    theirs = timm_encoder(name, output_stride=output_stride)
    theirs.load_state_dict(undilated.state_dict())
    for mine, other in zip(features, theirs.double().eval()(images), strict=True):
        torch.testing.assert_close(mine, other)


def stage_rates(encoder: nn.Module, prefix: str) -> list[int]:
    return [rate for path, rate in atrous_rates(encoder).items() if path.startswith(prefix)]


def test_resnet101_rates_per_stage():
    # Output stride 16: only the last stage is dilated, by 2; 8: the last two, by 2 and 4.
    at_16 = build_encoder("resnet101", output_stride=16)
    assert stage_rates(at_16, "layer3.") == [1] * 23
    assert stage_rates(at_16, "layer4.") == [1, 2, 2]
    at_8 = build_encoder("resnet101", output_stride=8)
    assert stage_rates(at_8, "layer2.") == [1] * 4
    assert stage_rates(at_8, "layer3.") == [1] + [2] * 22
    assert stage_rates(at_8, "layer4.") == [2, 4, 4]


@pytest.mark.parametrize(("name", "middle", "last"), [
    ("xception65", range(3, 20), 20),
    ("xception71", range(5, 22), 22),
])  # fmt: skip
def test_xception_rates_per_stage(name, middle, last):
    at_16 = build_encoder(name, output_stride=16)
    assert {rate for block in middle for rate in stage_rates(at_16, f"blocks_{block}.")} == {1}
    assert stage_rates(at_16, f"blocks_{last}.") == [2, 2, 2]
    at_8 = build_encoder(name, output_stride=8)
    assert {rate for block in middle for rate in stage_rates(at_8, f"blocks_{block}.")} == {2}
    assert stage_rates(at_8, f"blocks_{last}.") == [4, 4, 4]


def test_mobilenetv2_rates_are_those_of_the_tensorflow_network():
    # 17 blocks, 0 = first. Output stride 8: 2 in 7-13, 4 in 14-16; 16: 2 in 14-16, where the
    # block that lost its stride (6 at 8, 13 at 16) keeps the rate before it.
    at_8 = stage_rates(build_encoder("mobilenetv2", output_stride=8), "blocks.")
    assert at_8 == [1] * 7 + [2] * 7 + [4] * 3
    at_16 = stage_rates(build_encoder("mobilenetv2", output_stride=16), "blocks.")
    assert at_16 == [1] * 14 + [2] * 3


@pytest.mark.parametrize(("output_stride", "rates"), [(16, [2, 4, 8]), (8, [4, 8, 16])])
def test_multi_grid_multiplies_the_rate_of_the_last_stage(output_stride, rates):
    # Chen et al. 2017: Multi_Grid (1, 2, 4) at output stride 16 gives 2 · (1, 2, 4) = 2, 4, 8.
    resnet = build_encoder("resnet50", output_stride=output_stride, multi_grid=(1, 2, 4))
    assert stage_rates(resnet, "layer4.") == rates
    xception = build_encoder("xception65", output_stride=output_stride, multi_grid=(1, 2, 4))
    assert stage_rates(xception, "blocks_20.") == rates
    resnet.load_state_dict(build_encoder("resnet50").state_dict())
    with torch.no_grad():
        assert resnet.eval()(torch.rand(1, 3, 65, 65))[-1].shape[-1] == 64 // output_stride + 1


def test_eager_rates_reach_the_convolution_that_lost_its_stride():
    eager = build_encoder("resnet50", output_stride=8, eager_rates=True)
    assert stage_rates(eager, "layer3.") == [2] * 6
    assert stage_rates(eager, "layer4.") == [4] * 3


def test_trading_strides_leaves_no_trace_of_its_probe():
    encoder = timm_encoder("resnet18").train()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    trade_strides_for_rates(encoder, 16)
    assert encoder.training
    assert not any(module._forward_pre_hooks for module in encoder.modules())
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


@pytest.mark.parametrize(("options", "said"), [
    ({"name": "vgg16"}, "no encoder 'vgg16'"),
    ({"name": "resnet50", "output_stride": 4}, "output stride 4"),
    ({"name": "resnet50", "multi_grid": (1, 2)}, "has 3"),
    ({"name": "mobilenetv2", "multi_grid": (1, 2, 4)}, "has none"),
])  # fmt: skip
def test_refusals_say_why(options, said):
    with pytest.raises(SettingsError, match=said):
        build_encoder(**options)
