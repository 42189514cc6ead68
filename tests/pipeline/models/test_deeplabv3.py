"""torchvision's variants, without its upsampling, are torchvision's variants."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.models import segmentation

from maskmill.pipeline.models.networks.deeplabv3 import VARIANTS
from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.segmenter import build_network, load_network


@pytest.mark.parametrize("name", VARIANTS)
def test_our_grid_and_one_interpolation_equal_torchvisions_forward(tmp_path, name):
    torch.manual_seed(2)
    theirs = getattr(segmentation, name)(
        weights=None, weights_backbone=None, num_classes=21, aux_loss=True
    ).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")  # with the auxiliary head, as published
    ours = load_network(MODELS[name], tmp_path / "w.pth")
    pixels = torch.randn(1, 3, 65, 97)
    with torch.inference_mode():
        expected = theirs(pixels)["out"]
        grid = ours(pixels)
        found = F.interpolate(grid, size=(65, 97), mode="bilinear", align_corners=False)
    assert torch.equal(found, expected)
    stride = MODELS[name].grid_stride
    assert grid.shape[2:] == (-(-65 // stride), -(-97 // stride))


@pytest.mark.parametrize("name", VARIANTS)
def test_the_spec_tells_what_torchvisions_weights_tell(name):
    spec = MODELS[name]
    weights = getattr(segmentation, spec.weights.package)[spec.weights.version]
    rule = weights.transforms()
    assert [spec.preprocessing.size] == rule.resize_size
    assert spec.preprocessing.mean == pytest.approx([255 * value for value in rule.mean])
    assert spec.preprocessing.std == pytest.approx([255 * value for value in rule.std])
    with torch.device("meta"):
        network = build_network(spec, len(weights.meta["categories"]))
    trainable = sum(parameter.numel() for parameter in network.parameters())
    assert trainable == weights.meta["num_params"] - _aux_parameters(name)


def _aux_parameters(name: str) -> int:
    with torch.device("meta"):
        theirs = getattr(segmentation, name)(
            weights=None, weights_backbone=None, num_classes=21, aux_loss=True
        )
    return sum(parameter.numel() for parameter in theirs.aux_classifier.parameters())
