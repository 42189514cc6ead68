"""Sizes, padding and positions of what enters the network."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional as transforms

from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.segmenter import network_input
from maskmill.pipeline.views.pictures import mirrored
from maskmill.pipeline.views.preparation import grid_maps, prepare, resized_hw, valid_part
from maskmill.pipeline.views.preprocessing import Preprocessing
from maskmill.schemas.errors import SettingsError

SQUARE = MODELS["deeplabv3_mobilenetv2_x05_voc"].preprocessing
SHORTEST = MODELS["deeplabv3_resnet50"].preprocessing
SIDES = st.integers(1, 900)


def picture_of(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [
        ((480, 640), (385, 513)),  # 384.75 rounds up
        ((640, 480), (513, 385)),  # portrait
        ((513, 513), (513, 513)),  # nothing to do
        ((10, 20), (256, 513)),  # scaled up; 256.5 rounds to even
        ((1, 5000), (1, 513)),  # no side below one pixel
    ],
)
def test_longest_side_rule(size_hw, expected):
    assert resized_hw(size_hw, SQUARE) == expected


@settings(deadline=None, max_examples=60)
@given(SIDES, SIDES)
def test_longest_side_is_513_and_the_picture_stands_in_a_square(height, width):
    picture = prepare(np.zeros((height, width, 3), np.uint8), SQUARE)
    assert max(picture.pixels.shape[:2]) == 513
    assert picture.network_hw == (513, 513)


@settings(deadline=None, max_examples=40)
@given(st.integers(40, 400), st.integers(40, 400))
def test_shortest_side_rule_is_torchvisions(height, width):
    image = picture_of(height, width)
    rule = Preprocessing(resize="shortest_side", size=64)
    ours = prepare(image, rule).pixels
    theirs = transforms.resize(torch.from_numpy(image).permute(2, 0, 1), [64], antialias=True)
    assert np.array_equal(ours, theirs.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("size_hw", [(480, 640), (97, 61), (1200, 1600)])
def test_resize_is_the_antialiased_bilinear_that_pillow_knows(size_hw):
    image = picture_of(*size_hw)
    ours = prepare(image, SQUARE).pixels
    theirs = Image.fromarray(image).resize(ours.shape[1::-1], Image.Resampling.BILINEAR)
    difference = np.abs(ours.astype(int) - np.asarray(theirs).astype(int))
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.95


def test_resize_does_not_depend_on_threads():
    image, before = picture_of(700, 900), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = prepare(image, SQUARE).pixels
        torch.set_num_threads(4)
        assert np.array_equal(prepare(image, SQUARE).pixels, one)
    finally:
        torch.set_num_threads(before)


@settings(deadline=None, max_examples=60)
@given(SIDES, SIDES)
def test_positions_follow_the_written_formula(height, width):
    """u = clamp((x + 1/2) w/W - 1/2, 0, w - 1), then u (g - 1) / 512."""
    picture = prepare(np.zeros((height, width, 3), np.uint8), SQUARE)
    maps = grid_maps(picture, (65, 65), "align_corners")
    for axis, original, resized in zip(
        maps, (height, width), picture.pixels.shape[:2], strict=True
    ):
        u = np.clip((np.arange(original) + 0.5) * resized / original - 0.5, 0, resized - 1)
        assert np.allclose(axis.positions(0, original), u * 64 / 512, atol=1e-9)


@settings(deadline=None, max_examples=80)
@given(SIDES, SIDES, st.sampled_from(["align_corners", "half_pixel", "legacy"]))
def test_cropped_grid_holds_every_position_and_little_more(height, width, alignment):
    picture = prepare(np.zeros((height, width, 3), np.uint8), SQUARE)
    maps = grid_maps(picture, (65, 65), alignment)
    for axis, original in zip(maps, (height, width), strict=True):
        part, read = valid_part(axis, 65)
        assert part.start == 0
        assert axis.positions(0, original).max() <= part.stop - 1 <= 64
        assert part.stop - 1 < axis.high + 1
        assert np.array_equal(read.positions(0, original), axis.positions(0, original))


def test_grid_of_a_landscape_picture_ends_with_the_picture():
    picture = prepare(picture_of(480, 640), SQUARE)
    parts = [valid_part(axis, 65)[0] for axis in grid_maps(picture, (65, 65), "align_corners")]
    assert parts == [slice(0, 49), slice(0, 65)]  # 384 / 8 + 1


def test_padding_is_zero_after_normalisation():
    picture = prepare(picture_of(30, 60), SQUARE, image_size=129)
    values = network_input([picture], SQUARE, torch.device("cpu"))
    assert values.shape == (1, 3, 129, 129)
    assert values.is_contiguous(memory_format=torch.channels_last)
    height, width = picture.pixels.shape[:2]
    assert (values[:, :, height:] == 0).all()
    assert (values[:, :, :, width:] == 0).all()
    expected = torch.from_numpy(picture.pixels).permute(2, 0, 1) / 127.5 - 1
    assert torch.allclose(values[0, :, :height, :width], expected, atol=1e-6)


def test_normalisation_per_channel():
    picture = prepare(picture_of(80, 64), SHORTEST, image_size=64)
    values = network_input([picture], SHORTEST, torch.device("cpu"))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = transforms.normalize(
        torch.from_numpy(picture.pixels).permute(2, 0, 1) / 255, mean.tolist(), std.tolist()
    )
    assert torch.allclose(values[0], expected, atol=1e-5)


def test_image_size_replaces_the_rules_size():
    assert prepare(picture_of(100, 200), SQUARE, image_size=321).network_hw == (321, 321)
    with pytest.raises(SettingsError, match="too small"):
        prepare(picture_of(100, 200), SQUARE, image_size=8)


def test_no_upscaling_where_the_rule_says_so():
    rule = Preprocessing(resize="longest_side", size=300, upscale=False)
    assert prepare(picture_of(100, 200), rule).pixels.shape == (100, 200, 3)
    assert prepare(picture_of(600, 300), rule).pixels.shape == (300, 150, 3)


@pytest.mark.parametrize("size_hw", [(60, 90), (129, 97)])
def test_read_only_and_reversed_pictures(size_hw):
    """As they come out of an object store, and out of a flip; without a warning."""
    image = picture_of(*size_hw)
    expected = prepare(image, SQUARE, image_size=129).pixels
    locked = image.copy()
    locked.flags.writeable = False
    reversed_twice = image[:, ::-1].copy()[:, ::-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for same in (locked, reversed_twice):
            picture = prepare(same, SQUARE, image_size=129)
            assert np.array_equal(picture.pixels, expected)
            network_input([picture], SQUARE, torch.device("cpu"))


def test_a_letterbox_stands_in_the_middle_and_its_grid_with_it():
    rule = Preprocessing(resize="letterbox", size=513, pad=True, pad_value=128)
    picture = prepare(picture_of(100, 200), rule)
    assert picture.pixels.shape == (256, 513, 3)  # 256.5, cut off
    assert (picture.network_hw, picture.place_yx) == ((513, 513), (128, 0))
    rows, cols = grid_maps(picture, (65, 65), "align_corners")
    first = (0.5 * 256 / 100 - 0.5 + 128) / 8
    assert rows.positions(0, 1)[0] == pytest.approx(first)
    part, read = valid_part(rows, 65)
    assert (part.start, part.stop) == (16, 49)  # of the rows 128 to 383, by eights
    assert read.positions(0, 1)[0] == pytest.approx(first - 16)
    seen = grid_maps(mirrored(picture), (65, 65), "align_corners")[1]
    assert seen.positions(0, 200) == pytest.approx(cols.positions(0, 200)[::-1])
