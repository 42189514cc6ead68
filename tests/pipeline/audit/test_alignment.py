"""Turned, mirrored and moved masks are told by name and by distance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.audit.alignment import TURNS, find_alignment, mean_iou, turn_of_sizes
from maskmill.pipeline.metrics.confusion import count_pair
from maskmill.pipeline.metrics.definitions import miou
from maskmill.pipeline.metrics.totals import TotalsLayout, matrix_to_vector


def scene(seed=0, shape=(120, 160)):
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, np.uint8)
    for label in (1, 2, 3, 1, 2):
        y, x = rng.integers(8, shape[0] - 50), rng.integers(8, shape[1] - 50)
        mask[y : y + rng.integers(15, 40), x : x + rng.integers(15, 40)] = label
    return mask


@pytest.mark.parametrize("width", [60, 600])
@pytest.mark.parametrize("height", range(1, 14))
def test_narrow_masks_are_tried_as_far_as_they_reach(height, width):
    columns = np.arange(width) // 20 % 3
    truth = np.repeat(columns[None], height, axis=0).astype(np.uint8)
    found = find_alignment(truth, np.roll(truth, 1, axis=1), 3)
    assert found is None or (abs(found.shift_x), found.shift_y) == (1, 0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 50), st.integers(-20, 20), st.integers(-20, 20))
def test_shifts_are_measured(seed, x, y):
    truth = scene(seed)
    wide = np.pad(truth, 24, mode="edge")
    moved = wide[24 - y : 24 - y + truth.shape[0], 24 - x : 24 - x + truth.shape[1]]
    found = find_alignment(truth, moved, 4)
    if found is None:  # a shift too small to cost 0.02 of mIoU is none
        assert mean_iou(truth, moved, 4) > 0.9 or x == y == 0
    else:
        assert (found.turn, found.shift_x, found.shift_y) == ("", x, y)
        assert found.miou_after > 0.95


@pytest.mark.parametrize("done, name", [
    (np.fliplr, "mirrored left to right"), (np.flipud, "mirrored top to bottom"),
    (lambda mask: mask[::-1, ::-1], "turned by 180 degrees"),
])  # fmt: skip
def test_turns_of_the_same_size(done, name):
    found = find_alignment(scene(1), done(scene(1)), 4)
    assert found.turn == name and found.miou_after == 1.0


@pytest.mark.parametrize("done, name", [
    (lambda mask: np.rot90(mask, -1), "turned by 90 degrees clockwise"),
    (np.rot90, "turned by 90 degrees counter-clockwise"),
    (np.transpose, "mirrored along the diagonal"),
    (lambda mask: mask[::-1, ::-1].T, "mirrored along the other diagonal"),
])  # fmt: skip
def test_turns_that_swap_width_and_height(done, name):
    assert turn_of_sizes(scene(2), done(scene(2)), 4) == name
    square = scene(3, (140, 140))
    assert find_alignment(square, done(square), 4).turn == name


def test_exif_orientations_are_these_turns(tmp_path):
    """What Pillow does for the eight orientations, named by our words."""
    from PIL import Image, ImageOps

    names = set()
    for orientation in range(2, 9):
        picture = Image.fromarray(scene(4, (100, 100)))
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.png"
        picture.save(path, exif=exif)
        turned = np.asarray(ImageOps.exif_transpose(Image.open(path)))
        names.add(find_alignment(np.asarray(picture), turned, 4).turn)
    assert names == set(TURNS)


def test_other_mistakes_are_not_called_shifts():
    truth = scene(5)
    swapped = np.array([0, 2, 1, 3], np.uint8)[truth]
    assert find_alignment(truth, swapped, 4) is None
    assert find_alignment(truth, truth, 4) is None
    assert find_alignment(truth, np.zeros_like(truth), 4) is None
    assert find_alignment(truth[:2, :2], truth[:2, :2] + 1, 4) is None


def test_mean_iou_is_the_registered_one():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 6, (2, 30, 30)).astype(np.uint8)  # 4 and 5 are no classes
    layout = TotalsLayout(4, tuple("abcd"))
    folded = np.where(truth > 3, 255, truth).astype(np.uint8)
    vector = matrix_to_vector(count_pair(folded, prediction, 4).matrix, layout)
    expected = miou(layout.split(vector))
    assert mean_iou(truth, prediction, 4) == pytest.approx(float(expected))
    assert np.isnan(mean_iou(np.full((2, 2), 4, np.uint8), truth[:2, :2], 4))
