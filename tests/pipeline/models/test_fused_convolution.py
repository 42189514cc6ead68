"""The fused convolution is the plain one, for every shape the networks use."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.models.networks import fused_convolution
from maskmill.pipeline.models.networks.fused_convolution import (
    FusedConv2d,
    fuse_network,
    fusion_works,
)
from maskmill.pipeline.models.networks.same_convolution import SameConv2d
from maskmill.pipeline.models.networks.tf_mobilenetv2 import build

pytestmark = pytest.mark.skipif(
    not fusion_works(torch.float32), reason="this PyTorch has no fused CPU convolution"
)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 23),
    st.integers(1, 23),
    st.sampled_from(["none", "relu", "relu6"]),
    st.sampled_from(
        [(1, 1, 1, False), (3, 1, 1, True), (3, 2, 1, True), (3, 1, 4, True), (3, 2, 1, False)]
    ),
    st.integers(1, 2),
)
def test_equals_the_plain_convolution(height, width, activation, kind, batch):
    kernel, stride, dilation, depthwise = kind
    torch.manual_seed(height * 31 + width)
    plain = SameConv2d(
        8, 8 if depthwise else 12, kernel, activation=activation, stride=stride, dilation=dilation,
        depthwise=depthwise,
    )  # fmt: skip
    pixels = (
        torch.randn(batch, 8, height, width).mul(4).contiguous(memory_format=torch.channels_last)
    )
    with torch.inference_mode():
        fused = FusedConv2d(plain, torch.float32)(pixels)
        expected = plain(pixels)
    assert fused.shape == expected.shape
    assert torch.allclose(fused, expected, atol=1e-5)


@pytest.mark.parametrize("decoder", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_whole_networks_agree(decoder, batch):
    torch.manual_seed(3)
    plain = build(7, width=0.5, output_stride=16 if decoder else 8, decoder=decoder).eval()
    pixels = torch.randn(batch, 3, 65, 97).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = plain(pixels)
        fused = fuse_network(copy.deepcopy(plain), torch.float32)(pixels)
    assert torch.allclose(fused, expected, atol=1e-4 * expected.abs().max())


def test_a_shape_seen_before_changes_nothing():
    torch.manual_seed(4)
    plain = SameConv2d(16, 32, activation="relu")
    large, small = torch.randn(1, 16, 33, 33), torch.randn(1, 16, 5, 7)
    with torch.inference_mode():
        fresh = FusedConv2d(plain, torch.bfloat16)(small.bfloat16())
        used = FusedConv2d(plain, torch.bfloat16)
        for size in range(1, 12):
            used(torch.randn(1, 16, size, 33).bfloat16())
        used(large.bfloat16())
        assert torch.equal(used(small.bfloat16()), fresh)


def test_the_plain_network_runs_where_fusion_is_not_trusted(monkeypatch):
    torch.manual_seed(5)
    plain = build(4, width=0.5).eval()
    pixels = torch.randn(1, 3, 33, 33)
    with torch.inference_mode():
        expected = plain(pixels)
        monkeypatch.setattr(fused_convolution, "fusion_works", lambda _: False)
        assert torch.equal(fuse_network(plain, torch.float32)(pixels), expected)
