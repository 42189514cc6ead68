"""Half weights on a GPU: what stays in float32, and what labels they cost, found on cores."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskmill.pipeline.labelling.upsample import upsample_argmax
from maskmill.pipeline.models.loading import load_network
from maskmill.pipeline.models.networks.fused_convolution import FINE_BLOCKS
from maskmill.pipeline.models.networks.half_blocks import halve_blocks
from maskmill.pipeline.models.networks.tf_mobilenetv2 import build
from maskmill.pipeline.models.registry import DEFAULT_MODEL, MODELS
from maskmill.pipeline.models.segmenter import Segmenter
from maskmill.pipeline.views.preparation import prepare
from tests.pipeline.models.half_on_cores import rounded_blocks
from tests.pipeline.models.pulled_weights import pulled_weights

PHOTOGRAPHS = (
    "voc/*.jpg",
    "ade20k/sampleData/images/*.jpg",
    "coco_panoptic/sample_data/input_images/*.jpg",
    "coral/*_segmentation.bmp",
    "vainf_voc/samples/*_image.png",
)
LEAST = 0.995
"""Of the pixels of a photograph, on average, that must have the label fp32 gives."""


@pytest.mark.parametrize("decoder", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_halved_network_runs_with_its_finest_parts_and_its_classifier_whole(decoder, dtype):
    torch.manual_seed(1)
    plain = build(7, width=0.5, output_stride=16 if decoder else 8, decoder=decoder).eval()
    pixels = torch.randn(1, 3, 17, 17)
    with torch.inference_mode():
        expected = plain(pixels)
        halved = halve_blocks(plain, dtype)
        logits = halved(pixels)
    assert logits.dtype == torch.float32
    assert torch.allclose(logits, expected, atol=0.02 * expected.abs().max())
    whole = {name for name, weight in halved.named_parameters() if weight.dtype == torch.float32}
    spared = ("backbone.stem", "classifier", *(f"backbone.blocks.{n}." for n in range(FINE_BLOCKS)))
    assert whole == {name for name, _ in halved.named_parameters() if name.startswith(spared)}


def test_cores_that_round_say_what_half_arithmetic_says():
    """The stand-in for a GPU below is one: the same network, with halves in earnest."""
    torch.manual_seed(2)
    first, second = (build(7, width=0.5).eval() for _ in range(2))
    second.load_state_dict(first.state_dict())
    pixels = torch.randn(1, 3, 17, 17)
    with torch.inference_mode():
        in_earnest = halve_blocks(first, torch.float16)(pixels)
        rounded = rounded_blocks(second, torch.float16)(pixels)
    assert torch.allclose(in_earnest, rounded, atol=2e-3 * rounded.abs().max())


@pytest.mark.thorough
def test_fp16_keeps_the_labels_of_the_default_model(shared):
    """At full size, on photographs of five collections; each counts the same."""
    spec, weights = MODELS[DEFAULT_MODEL], pulled_weights(DEFAULT_MODEL)
    one, other = (Segmenter(spec, weights, precision="fp32") for _ in range(2))
    one.network = load_network(spec, weights).eval()
    other.network = rounded_blocks(load_network(spec, weights), torch.float16).eval()
    files = [file for kind in PHOTOGRAPHS for file in sorted((shared / "data").glob(kind))]
    assert len(files) == 14
    shares = [float((labels(one, file) == labels(other, file)).mean()) for file in files]
    print(f"{np.mean(shares):.5f} of the pixels equal, worst {min(shares):.5f}")
    assert np.mean(shares) >= LEAST, shares


def labels(segmenter: Segmenter, file: Path) -> np.ndarray:
    """(H, W) labels of a photograph."""
    image = np.array(Image.open(file).convert("RGB"))
    (answer,) = segmenter.forward([prepare(image, segmenter.spec.preprocessing)])
    return upsample_argmax(answer.logits, answer.rows, answer.cols, image.shape[:2])
