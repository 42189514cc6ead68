"""The TF networks answer what TensorFlow's own runtimes answered on real pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from maskmill.pipeline.models.networks.tf_mobilenetv2 import resize_bilinear
from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.segmenter import PictureLogits, Segmenter, load_network
from maskmill.pipeline.views.preparation import prepare
from tests.pipeline.models.pulled_weights import pulled_weights
from tests.thorough import sampled

X05, X10 = "deeplabv3_mobilenetv2_x05_voc", "deeplabv3_mobilenetv2_voc"
ADE = "deeplabv3plus_mobilenetv2_ade20k"
PICTURES = (
    "ade_1", "ade_2", "coco_439180", "coral_bird", "coral_dog",
    "voc_2011_000003", "voc_2011_000006", "voc_2011_000025",
)  # fmt: skip


def golden(shared: Path, folder: str, picture: str) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 network input and (H, W) expected labels."""
    base = shared / "weights" / "golden" / folder
    pixels = np.array(Image.open(base / f"{picture}.input.png").convert("RGB"))
    return pixels, np.array(Image.open(base / f"{picture}.labels.png"))


def plain_labels(network, pixels, size, mean, alignment):
    """Pad by hand, forward, one plain interpolation to the padded size, crop, argmax."""
    height, width = pixels.shape[:2]
    values = (torch.from_numpy(pixels).permute(2, 0, 1)[None].float() - mean) / 127.5
    values = F.pad(values, (0, size - width, 0, size - height))
    with torch.inference_mode():
        logits = network(values.to(memory_format=torch.channels_last))
    if alignment == "align_corners":
        full = F.interpolate(logits, (size, size), mode="bilinear", align_corners=True)
    else:
        full = resize_bilinear(logits, (size, size), alignment)
    return full[0, :, :height, :width].argmax(0).numpy()


def sampled_labels(answer: PictureLogits, size_hw: tuple[int, int]) -> np.ndarray:
    """Every original pixel reads the grid at its own position, by one bilinear step."""
    grid = torch.from_numpy(answer.logits.copy())
    for axis, axis_map in ((1, answer.rows), (2, answer.cols)):
        positions = torch.from_numpy(axis_map.positions(0, size_hw[axis - 1]))
        lower = positions.floor().long()
        upper = (lower + 1).clamp(max=grid.shape[axis] - 1)
        share = (positions - lower).float().view((-1, 1) if axis == 1 else (-1,))
        grid = grid.index_select(axis, lower).lerp(grid.index_select(axis, upper), share)
    return grid.argmax(0).numpy()


@pytest.mark.parametrize("picture", sampled(PICTURES, 3))
@pytest.mark.parametrize(("name", "size"), [(X05, 257), (X10, 513)])
def test_float_networks_agree_on_9999_of_10000_pixels(shared, name, size, picture):
    network = load_network(MODELS[name], pulled_weights(name))
    pixels, expected = golden(shared, name, picture)
    found = plain_labels(network, pixels, size, 127.5, "align_corners")
    assert (found == expected).mean() >= 0.9999


@pytest.mark.thorough
def test_quantised_network_agrees_on_97_of_100_pixels(shared):
    weights = shared / "weights" / "deeplabv3_mnv2_ade20k_int8.tflite"
    network = load_network(MODELS[ADE], weights)
    shares = []
    for picture in PICTURES:
        pixels, expected = golden(shared, f"{ADE}_int8", picture)
        shares.append((plain_labels(network, pixels, 512, 127.0, "legacy") == expected).mean())
    assert np.mean(shares) >= 0.97, shares
    assert min(shares) >= 0.92, shares


@pytest.mark.parametrize("picture", ["voc_2011_000003", "ade_1"])
def test_segmenter_and_geometry_meet_the_golden_too(shared, picture):
    """The whole path: prepare, pad, forward, crop, and pixel positions on the cropped grid."""
    pixels, expected = golden(shared, X10, picture)
    spec = MODELS[X10]
    segmenter = Segmenter(spec, pulled_weights(X10), precision="fp32", threads=1)
    unscaled = replace(spec.preprocessing, resize="none")
    (answer,) = segmenter.forward([prepare(pixels, unscaled)])
    assert (sampled_labels(answer, expected.shape) == expected).mean() >= 0.9999


def test_default_size_beats_the_exported_size(shared):
    """At 513 the default model finds the person and the chair that official masks show."""
    spec = MODELS[X05]
    segmenter = Segmenter(spec, pulled_weights(X05), precision="fp32", threads=1)
    picture = np.array(Image.open(shared / "data" / "voc" / "2011_000003.jpg").convert("RGB"))
    truth = np.array(Image.open(shared / "data" / "voc" / "2011_000003_voc_official.png"))
    scores = {}
    for size in (257, 513):
        (answer,) = segmenter.forward([prepare(picture, spec.preprocessing, image_size=size)])
        found = sampled_labels(answer, truth.shape)
        scores[size] = _iou(found == 15, truth == 15, truth != 255)
    assert scores[513] >= 0.85
    assert scores[513] > scores[257]


def _iou(found, truth, counted) -> float:
    return (found & truth & counted).sum() / ((found | truth) & counted).sum()
