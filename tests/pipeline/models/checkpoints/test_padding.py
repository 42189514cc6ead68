"""Letterboxes: the grey of the padding is what the network sees there."""

import numpy as np
import torch

from maskmill.pipeline.models.segmenter import network_input
from maskmill.pipeline.views.preparation import prepare
from maskmill.pipeline.views.preprocessing import Preprocessing


def test_padding_has_the_grey_that_the_rule_names():
    rule = Preprocessing(
        resize="longest_side", size=64, pad=True, mean=(0.0,) * 3, std=(255.0,) * 3, pad_value=128
    )
    picture = prepare(np.full((40, 64, 3), 255, np.uint8), rule)
    pixels = network_input([picture], rule, torch.device("cpu"))
    assert torch.all(pixels[:, :, :40] == 1)
    torch.testing.assert_close(pixels[:, :, 40:], torch.full((1, 3, 24, 64), 128 / 255))
    tall = prepare(np.full((64, 40, 3), 255, np.uint8), rule)
    pixels = network_input([tall], rule, torch.device("cpu"))
    torch.testing.assert_close(pixels[..., 40:], torch.full((1, 3, 64, 24), 128 / 255))
