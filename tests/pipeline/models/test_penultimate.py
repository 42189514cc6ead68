"""The pooled feature is what enters the classifier, over the picture and not over its padding."""

import numpy as np
import pytest
import torch

from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.segmenter import Segmenter, load_network, network_input
from maskmill.pipeline.views.preparation import prepare

DEFAULT = MODELS["deeplabv3_mobilenetv2_x05_voc"]
TORCHVISION = MODELS["deeplabv3_mobilenet_v3_large"]
ON_GRIDS = MODELS["deeplabv3plus_mobilenetv2_ade20k"]


def answers(spec, pictures, **settings):
    return Segmenter(spec, None, untrained=True, precision="fp32", **settings).forward(pictures)


def picture(spec, height, width, size=65):
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    return prepare(pixels, spec.preprocessing, image_size=size)


def before_the_classifier(spec, shown):
    """The network's parts called by hand, up to the classifier: (D, h, w)."""
    network = load_network(spec, None, untrained=True)
    with torch.inference_mode():
        pixels = network_input([shown], spec.preprocessing, torch.device("cpu"))
        if spec is TORCHVISION:
            features = network.backbone(pixels)["out"]
            for layer in list(network.classifier)[:-1]:
                features = layer(features)
            return features[0]
        return network.aspp(network.backbone(pixels)[0])[0]


@pytest.mark.parametrize("spec", [DEFAULT, TORCHVISION], ids=lambda spec: spec.name)
def test_the_feature_is_the_mean_of_what_enters_the_classifier(spec):
    shown = picture(spec, 40, 65)
    (answer,) = answers(spec, [shown], features=True)
    features = before_the_classifier(spec, shown)
    rows, columns = answer.logits.shape[1:]
    expected = features[:, :rows, :columns].mean((1, 2)).numpy()
    assert expected.std() > 0
    np.testing.assert_allclose(answer.feature, expected, rtol=1e-3, atol=1e-4 * expected.std())
    if spec is DEFAULT:  # padded below: those rows would move the mean
        assert rows < features.shape[1]
        assert not np.allclose(answer.feature, features.mean((1, 2)).numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("spec", [DEFAULT, ON_GRIDS], ids=lambda spec: spec.name)
def test_a_feature_does_not_depend_on_its_neighbours_and_the_logits_not_on_it(spec):
    shown = [picture(spec, height, 65) for height in (30, 40, 50)]
    together = answers(spec, shown, features=True, group_size=2)
    plain = answers(spec, shown, group_size=2)
    for one, answer, other in zip(shown, together, plain, strict=True):
        (alone,) = answers(spec, [one], features=True, group_size=2)
        assert np.array_equal(alone.feature, answer.feature)
        assert np.array_equal(answer.logits, other.logits)
        assert other.feature is None
