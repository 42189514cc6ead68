"""Networks that look at one pixel at a time: what windows and mirrors must leave as it is."""

import torch
from torch import nn

from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.views.preprocessing import Preprocessing
from maskmill.schemas.labels import LabelMap


class Pointwise(nn.Module):
    """One 1x1 convolution from normalised pixels to logits; grid and input coincide."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(3, num_classes, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.classifier(pixels)


def build(num_classes: int, *, seed: int = 3) -> Pointwise:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Pointwise(num_classes)
        nn.init.normal_(network.classifier.weight, std=2.0)
        nn.init.normal_(network.classifier.bias, std=0.3)
    return network


def pointwise_spec(labels: LabelMap) -> ModelSpec:
    return ModelSpec(
        name="pointwise", architecture="1x1", builder=f"{__name__}:build", labels="",
        own_labels=labels, preprocessing=Preprocessing(resize="none", size=513), output_stride=1,
        grid_stride=1, alignment="half_pixel", description="",
    )  # fmt: skip
