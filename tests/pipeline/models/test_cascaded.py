"""DeepLabv3 on ResNet: rates of both arrangements, and what they cost beside published numbers."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torchvision.models import segmentation

from maskmill.pipeline.models.cost import count_multiply_adds, count_parameters
from maskmill.pipeline.models.networks.cascaded import build_cascaded, build_parallel
from maskmill.pipeline.models.networks.deeplabv3plus import build
from maskmill.pipeline.models.networks.encoders import atrous_rates
from maskmill.schemas.errors import SettingsError

BUILDERS = (build_cascaded, build_parallel)
SEPARABLE = {"aspp_separable": "normalized", "decoder_separable": "normalized"}


@pytest.mark.parametrize(("output_stride", "factor"), [(16, 1), (8, 2)])
def test_cascaded_rates_double_from_block_to_block(output_stride, factor):
    with torch.device("meta"):
        network = build_cascaded(21, output_stride=output_stride)
    rates = atrous_rates(network)
    fourth = [rate for path, rate in rates.items() if path.startswith("encoder.layer4.")]
    copies = [rate for path, rate in rates.items() if path.startswith("context.")]
    grid = (1, 2, 1)  # the paper's best with seven blocks
    assert fourth == [2 * factor * unit for unit in grid]
    assert copies == [rate * factor * unit for rate in (4, 8, 16) for unit in grid]


def test_parallel_rates_are_the_papers():
    with torch.device("meta"):
        rates = atrous_rates(build_parallel(21, output_stride=16))
    assert [rate for path, rate in rates.items() if "layer4" in path] == [2, 4, 8]
    assert [rate for path, rate in rates.items() if path.startswith("context.")] == [6, 12, 18]


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("builder", BUILDERS)
@torch.no_grad()
def test_shapes_and_batch_equals_single(builder, output_stride):
    torch.manual_seed(6)
    network = builder(4, output_stride=output_stride).eval().double()
    images = torch.randn(2, 3, 33, 49, dtype=torch.float64)
    logits = network(images)
    assert logits.shape == (2, 4, 32 // output_stride + 1, 48 // output_stride + 1)
    torch.testing.assert_close(
        logits, torch.cat([network(image[None]) for image in images]), atol=1e-9, rtol=1e-9
    )


@pytest.mark.parametrize("builder", BUILDERS)
def test_output_stride_changes_no_weight(builder):
    with torch.device("meta"):
        shapes = [
            {
                key: value.shape
                for key, value in builder(3, output_stride=stride).state_dict().items()
            }
            for stride in (8, 16)
        ]
    assert shapes[0] == shapes[1]


@torch.no_grad()
def test_copies_start_as_new_weights_of_the_same_distribution():
    torch.manual_seed(7)
    network = build_cascaded(2)
    fourth, fifth = network.encoder.layer4[1], network.context[0][1]
    assert not torch.equal(fourth.conv2.weight, fifth.conv2.weight)
    torch.testing.assert_close(
        fourth.conv2.weight.std(), fifth.conv2.weight.std(), rtol=0.02, atol=0
    )
    assert isinstance(network.context[0][0], type(fourth))
    assert network.context[0][0].downsample is None


def test_a_cascade_of_four_blocks_is_the_network_without_copies():
    with torch.device("meta"):
        costs = [count_parameters(build_cascaded(21, last_block=last)) for last in (4, 5, 6, 7)]
    # One bottleneck of 2048 channels: 2048·512 + 512·512·9 + 512·2048 weights and their norms.
    stage = 3 * (2048 * 512 * 2 + 512 * 512 * 9 + 2 * (512 + 512 + 2048))
    assert [after - before for before, after in pairwise(costs)] == [stage] * 3


@pytest.mark.parametrize(("options", "said"), [
    ({"num_classes": 0}, "0 classes"),
    ({"num_classes": 2, "last_block": 8}, "last block 8"),
    ({"num_classes": 2, "encoder": "xception65"}, "ResNet stages"),
    ({"num_classes": 2, "encoder": "resnet18"}, "has none"),
])  # fmt: skip
def test_refusals_say_why(options, said):
    with pytest.raises(SettingsError, match=said), torch.device("meta"):
        build_cascaded(**options)


class OutOnly(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images)["out"]


@pytest.mark.parametrize("enum", [
    segmentation.DeepLabV3_ResNet50_Weights, segmentation.DeepLabV3_ResNet101_Weights,
    segmentation.DeepLabV3_MobileNet_V3_Large_Weights,
])  # fmt: skip
def test_our_counts_are_the_ones_torchvision_documents(enum):
    # Its table counts parameters and multiply-adds of the network with its auxiliary head, at 520.
    meta = enum.DEFAULT.meta
    name = enum.__name__.removesuffix("_Weights").lower()
    with torch.device("meta"):
        network = getattr(segmentation, name)(
            weights=None, weights_backbone=None, aux_loss=True, num_classes=21
        )
        assert count_parameters(network) == meta["num_params"]
        counted = count_multiply_adds(OutOnly(network), (520, 520)) / 1e9
    assert counted == pytest.approx(meta["_ops"], rel=1e-3)


def test_xception65_costs_what_the_tensorflow_model_zoo_says():
    # 54.17 billion at output stride 16 on 513×513 with separable ASPP and decoder.
    with torch.device("meta"):
        network = build(21, encoder="xception65", output_stride=16, **SEPARABLE)
        counted = count_multiply_adds(network, (513, 513)) / 1e9
    assert counted == pytest.approx(54.17, rel=0.005)


def test_counting_leaves_the_network_as_it_was():
    network = nn.Conv2d(3, 5, 3, bias=False).train()
    assert count_parameters(network) == 135
    assert count_multiply_adds(network, (12, 22)) == 135 * 10 * 20
    assert network.training
