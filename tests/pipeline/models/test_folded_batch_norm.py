"""Batch norm folded into convolutions: the same answers, where nothing else reads between them."""

import pytest
import torch
from torch import nn

from maskmill.pipeline.models.networks.folded_batch_norm import fold_batch_norms
from maskmill.pipeline.models.networks.half_blocks import halve_network
from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.segmenter import load_network
from maskmill.pipeline.models.weights.state import classifier_name
from tests.pipeline.models.foreign_networks import randomize

PIXELS = torch.randn(1, 3, 49, 65, generator=torch.Generator().manual_seed(6))
NAMES = ("deeplabv3_mobilenet_v3_large", "deeplabv3plus_mobilenetv2")
"""Of torchvision's layers, and of timm's, whose batch norms have the activation in them."""


def norms(network: nn.Module) -> int:
    return sum(isinstance(one, nn.BatchNorm2d) for one in network.modules())


@pytest.fixture(scope="module", params=NAMES)
def plain(request) -> nn.Module:
    """A network whose batch norms all do something."""
    torch.manual_seed(7)
    return randomize(load_network(MODELS[request.param], None, untrained=True)).eval()


@torch.inference_mode()
def answer(network: nn.Module) -> torch.Tensor:
    return network(PIXELS)


def test_folded_and_halved_networks_say_what_plain_ones_say(plain):
    expected = answer(plain)
    assert norms(plain) > 50
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        converted = plain(PIXELS).float()
    folded = fold_batch_norms(plain)
    assert norms(folded) == 0
    said = answer(folded)
    assert (said - expected).abs().max() <= 1e-4 * expected.abs().max()
    halved = halve_network(folded, torch.bfloat16, classifier_name(folded))
    said = answer(halved)
    assert said.dtype == torch.float32
    assert (said - expected).square().mean() <= 1.5 * (converted - expected).square().mean()


class Between(nn.Module):
    """A convolution and a batch norm, and one thing more that keeps them apart."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.kind = kind
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)
        self.norm = randomize(nn.Sequential(nn.BatchNorm2d(4)))[0]

    def forward(self, pixels):
        said = self.first(pixels)
        if self.kind == "another reader":
            return self.norm(said) + said
        if self.kind == "an activation":
            return self.norm(said.relu())
        if self.kind == "a norm called twice":
            return self.norm(self.second(self.norm(said)))
        if self.kind == "weights used twice":
            return self.norm(self.second(self.second(said)))
        return self.second(self.norm(said))


@pytest.mark.parametrize(
    ("kind", "left"),
    [
        ("another reader", 1),
        ("an activation", 1),
        ("a norm called twice", 1),
        ("weights used twice", 1),
        ("nothing", 0),
    ],
)
def test_a_batch_norm_stays_where_something_else_reads(kind, left):
    network = Between(kind).eval()
    expected = answer(network)
    assert norms(fold_batch_norms(network)) == left
    assert torch.allclose(answer(network), expected, atol=1e-5)
