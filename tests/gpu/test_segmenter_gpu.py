"""On a GPU the segmenter says what it says on a CPU, and survives running out of memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.segmenter import Segmenter
from maskmill.pipeline.views.preparation import prepare
from maskmill.schemas.errors import ErrorCode, ImageFailure

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
NAMES = ("deeplabv3_mobilenetv2_x05_voc", "deeplabv3_mobilenet_v3_large")


def pictures(name: str, count: int = 5) -> list:
    rng = np.random.default_rng(2)
    rule = MODELS[name].preprocessing
    return [
        prepare(rng.integers(0, 256, (120, 160, 3), dtype=np.uint8), rule, image_size=129)
        for _ in range(count)
    ]


def segmenter(name: str, device: str = "cuda", **settings) -> Segmenter:
    return Segmenter(MODELS[name], None, device=device, untrained=True, **settings)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999), ("auto", 0.9)])
def test_labels_are_those_of_the_cpu(name, precision, least):
    """Random weights leave close calls: trained models agree better in bf16."""
    on_cpu = segmenter(name, "cpu", precision="fp32").forward(pictures(name))
    on_gpu = segmenter(name, precision=precision, group_size=4).forward(pictures(name))
    shares = [
        (one.logits.argmax(0) == other.logits.argmax(0)).mean()
        for one, other in zip(on_cpu, on_gpu, strict=True)
    ]
    assert np.mean(shares) >= least


@pytest.mark.parametrize("name", NAMES)
def test_a_result_does_not_depend_on_its_neighbours(name):
    one = segmenter(name, group_size=4)
    together = one.forward(pictures(name))
    for picture, answer in zip(pictures(name), together, strict=True):
        assert np.array_equal(one.forward([picture])[0].logits, answer.logits)


def test_a_picture_beyond_the_memory_fails_alone():
    name = NAMES[0]
    one = segmenter(name, group_size=2)
    good, other = pictures(name, 2)
    huge = replace(good, network_hw=(1 << 20, 1 << 20))
    first, failed, last = one.forward([good, huge, other])
    assert isinstance(failed, ImageFailure)
    assert failed.code is ErrorCode.OUT_OF_MEMORY
    assert first.logits.shape == last.logits.shape
    assert not first.halved
