"""What a GPU makes of pictures is what the CPU makes of them, bit for bit."""

import numpy as np
import pytest
import torch

from maskmill.pipeline.models.network_input import DeviceInput, network_input
from maskmill.pipeline.views.preparation import NetworkPicture, prepare
from maskmill.pipeline.views.preprocessing import Preprocessing

HALF = (127.5, 127.5, 127.5)
RULES = {
    "padded": Preprocessing(
        resize="longest_side", size=97, pad=True, upscale=True, mean=HALF, std=HALF
    ),
    "grey": Preprocessing(resize="letterbox", size=97, pad=True, pad_value=128),
    "whole": Preprocessing(resize="exact", size=97),
}
SIZES = ((60, 80), (80, 60), (97, 97), (33, 97))


def pictures(rule: Preprocessing) -> list[NetworkPicture]:
    rng = np.random.default_rng(4)
    return [prepare(rng.integers(0, 256, (*hw, 3), dtype=np.uint8), rule) for hw in SIZES]


@pytest.mark.parametrize("name", RULES)
def test_one_upload_gives_the_values_of_picture_by_picture(name):
    rule, cpu = RULES[name], torch.device("cpu")
    group = pictures(rule)
    values = DeviceInput(rule, cpu)(group)
    assert torch.equal(values, network_input(group, rule, cpu))
    assert values.is_contiguous(memory_format=torch.channels_last)


def test_a_group_that_needs_no_padding_after_one_that_did():
    rule, cpu = RULES["padded"], torch.device("cpu")
    wide, _, square, _ = pictures(rule)
    one = DeviceInput(rule, cpu)
    for group in ([wide, square], [square], [square, square, wide]):
        assert torch.equal(one(group), network_input(group, rule, cpu))
