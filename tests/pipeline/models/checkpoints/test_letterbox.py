"""bubbliiiing's letterbox: its own code's pictures, and the masks that its own prediction makes."""

import json
import lzma
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import maskmill
from maskmill.pipeline.models.weights.foreign_layouts import LAYOUTS
from maskmill.pipeline.views.preparation import prepare
from tests.golden.checkpoints.seeded import seeded_photograph, seeded_state

FILE = Path(__file__).parents[3] / "golden" / "checkpoints" / "letterbox.json.xz"
GOLDEN = json.loads(lzma.decompress(FILE.read_bytes()))
RULE = LAYOUTS["branched"].preprocessing


@pytest.mark.parametrize("case", GOLDEN["pictures"], ids=lambda case: str(case["size"]))
def test_pictures_stand_where_its_own_letterbox_puts_them(case):
    picture = prepare(seeded_photograph(*case["size"]), RULE)
    height, width = case["resized"]
    assert picture.pixels.shape == (height, width, 3)
    square = np.full((512, 512, 3), 128, np.uint8)
    top, left = picture.place_yx
    square[top : top + height, left : left + width] = picture.pixels
    found, expected = square[::37, ::37].flatten(), np.array(case["pixels"])
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert expected.std() > 20


def test_masks_are_those_of_its_own_prediction(tmp_path):
    path = tmp_path / "best_epoch_weights.pth"
    torch.save(seeded_state(GOLDEN["keys"]), path)
    model = maskmill.load_model(weights=str(path))
    for case in GOLDEN["pictures"]:
        mask, _ = model.predict(seeded_photograph(*case["size"]))
        expected = np.array(list(case["mask"]), np.uint8).reshape(case["size"])
        assert len(np.unique(expected)) > 1
        # It resizes twice, and probabilities rather than logits: outlines differ by a pixel. With
        # the picture at the top left of the square a quarter of all pixels would differ.
        assert (mask == expected).mean() > 0.98
        inside = cv2.dilate(expected, np.ones((3, 3))) == cv2.erode(expected, np.ones((3, 3)))
        assert (mask != expected)[inside].mean() < 0.002
