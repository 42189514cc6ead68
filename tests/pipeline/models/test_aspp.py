"""ASPP: rates, arithmetic of atrous convolution, equality with torchvision's and a dense oracle."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torchvision.models.segmentation import deeplabv3 as torchvision_deeplabv3

from maskmill.pipeline.models.networks.aspp import ASPP, ImagePooling, conv_norm_relu, rates_at
from maskmill.schemas.errors import SettingsError


def upsampled_kernel(weight: torch.Tensor, rate: int) -> torch.Tensor:
    """The kernel with rate - 1 zeros between its values."""
    out_channels, in_channels, height, width = weight.shape
    size = (out_channels, in_channels, (height - 1) * rate + 1, (width - 1) * rate + 1)
    dense = torch.zeros(size, dtype=weight.dtype)
    dense[:, :, ::rate, ::rate] = weight
    return dense


@settings(max_examples=60, deadline=None)
@given(
    rate=st.integers(1, 7),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    in_channels=st.integers(1, 4),
    separable=st.sampled_from(["none", "plain"]),
    seed=st.integers(0, 2**31),
)
def test_atrous_convolution_is_dense_convolution_with_an_upsampled_kernel(
    rate, height, width, in_channels, separable, seed
):
    torch.manual_seed(seed)
    layer = conv_norm_relu(in_channels, 3, 3, rate=rate, separable=separable).double()
    features = torch.randn(2, in_channels, height, width, dtype=torch.float64)
    spatial = layer.conv if separable == "none" else layer.depthwise
    expected = functional.conv2d(
        features, upsampled_kernel(spatial.weight, rate), padding=rate, groups=spatial.groups
    )
    torch.testing.assert_close(spatial(features), expected, atol=1e-12, rtol=1e-12)
    assert spatial(features).shape[2:] == (height, width)


@pytest.mark.parametrize(("output_stride", "rates"), [(16, (6, 12, 18)), (8, (12, 24, 36))])
def test_rates(output_stride, rates):
    assert rates_at(output_stride) == rates
    aspp = ASPP(8, rates_at(output_stride), channels=4)
    assert [branch.conv.dilation for branch in aspp.branches] == [
        (rate, rate) for rate in (1, *rates)
    ]


def test_separable_forms():
    # 3×3, 5 -> 7 channels: dense 5·7·9, depthwise 5·9 and pointwise 5·7; norms 2 values a channel.
    def parameters(separable):
        layer = conv_norm_relu(5, 7, 3, separable=separable)
        return sum(parameter.numel() for parameter in layer.parameters())

    assert parameters("none") == 315 + 14
    assert parameters("plain") == 45 + 35 + 14
    assert parameters("normalized") == 45 + 10 + 35 + 14
    assert [*conv_norm_relu(5, 7, 1, separable="plain")._modules] == ["conv", "norm", "relu"]
    with pytest.raises(SettingsError, match="'both'"):
        conv_norm_relu(5, 7, 3, separable="both")


@torch.no_grad()
def test_equals_torchvision_with_the_same_weights():
    torch.manual_seed(1)
    theirs = torchvision_deeplabv3.ASPP(16, [6, 12, 18], out_channels=8)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    ours = ASPP(16, rates_at(16), channels=8)
    # Both list 1×1, three rates, pooling, projection, each as convolution then norm.
    ours.load_state_dict(
        dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)), strict=True
    )
    features = torch.randn(2, 16, 9, 14)
    torch.testing.assert_close(ours.eval()(features), theirs.eval()(features))


@torch.no_grad()
def test_image_pooling_is_the_same_everywhere_and_depends_on_everything():
    torch.manual_seed(2)
    pooling = ImagePooling(3, 6).eval()
    features = torch.rand(1, 3, 5, 8)
    pooled = pooling(features)
    assert pooled.shape == (1, 6, 5, 8)
    assert torch.equal(pooled, pooled[:, :, :1, :1].expand_as(pooled))
    changed = features.clone()
    changed[:, :, 4, 7] += 40.0
    assert not torch.allclose(pooling(changed)[..., 0, 0], pooled[..., 0, 0])


@torch.no_grad()
def test_dropout_acts_in_training_only():
    torch.manual_seed(3)
    aspp = ASPP(4, (1, 2, 3), channels=4, dropout=0.5)
    features = torch.randn(2, 4, 6, 6)
    assert torch.equal(aspp.eval()(features), aspp(features))
    assert not torch.equal(aspp.train()(features), aspp(features))


@torch.no_grad()
def test_image_pooling_of_a_window_slides_and_of_a_large_one_is_the_whole():
    torch.manual_seed(9)
    features = torch.randn(2, 6, 7, 9, dtype=torch.float64)
    sliding = ImagePooling(6, 4, window=(3, 20)).double().eval()
    near = sliding.project(nn.AvgPool2d((3, 9), 1)(features))
    assert near.shape[2:] == (5, 1)
    expected = nn.functional.interpolate(near, (7, 9), mode="bilinear", align_corners=False)
    torch.testing.assert_close(sliding(features), expected)
    whole = ImagePooling(6, 4).double().eval()
    whole.load_state_dict(sliding.state_dict())
    assert not torch.allclose(whole(features), expected)
    sliding.window = (7, 9)
    torch.testing.assert_close(sliding(features), whole(features))
