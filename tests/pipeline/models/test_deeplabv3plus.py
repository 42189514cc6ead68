"""DeepLabv3+: every published name builds, and holds the promises of a network here."""

import pytest
import torch
from torch import nn

from maskmill.pipeline.models.adaptation import at_output_stride
from maskmill.pipeline.models.loading import build_network
from maskmill.pipeline.models.networks.deeplabv3plus import build
from maskmill.pipeline.models.networks.encoders import atrous_rates
from maskmill.pipeline.models.registry import MODELS
from maskmill.schemas.errors import SettingsError
from tests.thorough import sampled

SEPARABLE = {"aspp_separable": "normalized", "decoder_separable": "normalized"}
OWN = {
    name.removeprefix("deeplabv3plus_"): spec
    for name, spec in MODELS.items()
    if spec.builder == "maskmill.pipeline.models.networks.deeplabv3plus:build"
}


def network_of(name: str, classes: int, output_stride: int) -> nn.Module:
    return build_network(at_output_stride(OWN[name], output_stride), classes)


def randomized(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def test_all_six_names_are_there():
    assert set(OWN) == {
        "resnet50", "resnet101", "xception65", "xception71", "mobilenetv2", "mobilenetv3_large",
    }  # fmt: skip


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", sampled(OWN, 3))
@torch.no_grad()
def test_shapes_determinism_and_batch_equals_single(name, output_stride):
    torch.manual_seed(4)
    network = randomized(network_of(name, 5, output_stride)).double()
    images = torch.randn(2, 3, 33, 50, dtype=torch.float64)
    logits = network(images)
    assert logits.shape == (2, 5, 9, 13)  # the stride-4 grid, whatever the output stride
    assert torch.equal(logits, network(images))
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(logits, alone, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", sampled(OWN, 3))
def test_output_stride_changes_no_weight(name):
    with torch.device("meta"):
        at_16, at_8 = network_of(name, 3, 16), network_of(name, 3, 8)
    shapes = {key: value.shape for key, value in at_16.state_dict().items()}
    assert shapes == {key: value.shape for key, value in at_8.state_dict().items()}
    rates = [atrous_rates(network.aspp) for network in (at_16, at_8)]
    assert [2 * rate for rate in rates[0].values()] == list(rates[1].values())
    assert list(rates[0].values()) == [6, 12, 18]


@torch.no_grad()
def test_a_binary_head_is_one_channel():
    assert build(1, encoder="mobilenetv2").eval()(torch.rand(1, 3, 33, 33)).shape == (1, 1, 9, 9)


def test_decoder_is_as_published():
    decoder = build(21, encoder="resnet50").decoder
    assert decoder.low_level.conv.weight.shape == (48, 256, 1, 1)
    assert [conv.conv.weight.shape for conv in decoder.refine] == [
        (256, 304, 3, 3), (256, 256, 3, 3),
    ]  # fmt: skip
    separable = build(21, encoder="resnet50", **SEPARABLE).decoder
    assert separable.refine[0].depthwise.weight.shape == (304, 1, 3, 3)


def test_gradients_reach_every_weight():
    torch.manual_seed(5)
    network = build(2, encoder="mobilenetv2", **SEPARABLE).train()
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    dead = [name for name, value in network.named_parameters() if value.grad is None]
    assert dead == []


@torch.no_grad()
def test_align_corners_puts_context_points_on_edge_points():
    # On a 16k + 1 input the 5×5 context grid lies on every fourth point of the 17×17 edge grid.
    seen = {}
    for aligned in (True, False):
        decoder = build(2, encoder="mobilenetv2", align_corners=aligned).decoder.eval()
        decoder.refine.register_forward_pre_hook(lambda _, inputs: seen.update(joined=inputs[0]))
        context = torch.randn(1, 256, 5, 5)
        decoder(context, torch.randn(1, 24, 17, 17))
        assert torch.allclose(seen["joined"][:, :256, ::4, ::4], context, atol=1e-6) == aligned


def test_no_class_is_refused():
    with pytest.raises(SettingsError, match="0 classes"):
        build(0)
