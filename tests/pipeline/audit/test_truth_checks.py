"""Planted oddities are found; real hand-made masks are not accused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maskmill.pipeline.audit.truth_checks import TRUTH_CHECKS, TruthMask, check_truth

pytestmark = pytest.mark.usefixtures("loops")


def square(size=40):
    mask = np.zeros((size, size), np.uint8)
    mask[10:30, 10:30] = 1
    return mask


def found(mask, num_classes=3):
    return {finding.check: finding for finding in check_truth(TruthMask.of(mask, num_classes))}


def test_a_clean_mask_has_no_findings():
    assert found(square()) == {}


def test_islands():
    mask = square()
    mask[3:5, 3:6] = 2  # 6 pixels
    mask[34, 34] = 2  # 1 pixel
    mask[0, 20] = 1  # at the picture's edge: an object that goes on outside
    finding = found(mask)["island"]
    assert (finding.index, finding.count, finding.bbox) == (2, 2, (3, 3, 3, 2))


def test_a_hole_of_one_pixel_is_an_island_of_what_fills_it():
    mask = square()
    mask[20, 20] = 0
    assert found(mask)["island"].index == 0


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 30), st.integers(1, 4))
def test_islands_equal_labelling_every_class_whole(seed, height, width, blocks):
    measure = pytest.importorskip("skimage.measure")
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.integers(0, 3, (height, width)), np.ones((blocks, blocks), int))
    mask = np.where(rng.random(mask.shape) < 0.05, rng.integers(0, 3, mask.shape), mask)
    expected = {}
    for label in range(3):
        boxes = []
        for one in measure.regionprops(measure.label(mask == label, connectivity=2)):
            y0, x0, y1, x1 = one.bbox
            inside = y0 > 0 and x0 > 0 and y1 < mask.shape[0] and x1 < mask.shape[1]
            if one.area <= 8 and inside:
                boxes.append((x0, y0, x1 - x0, y1 - y0))
        if boxes:
            expected[label] = (len(boxes), boxes[0])
    found = check_truth(TruthMask.of(mask.astype(np.uint8), 3))
    islands = {one.index: (one.count, one.bbox) for one in found if one.check == "island"}
    assert {key: value[0] for key, value in islands.items()} == {
        key: value[0] for key, value in expected.items()
    }


@pytest.mark.parametrize("size, noise", [(200, 0.02), (200, 0.4), (900, 0.003)])
def test_islands_in_little_and_in_much_noise(size, noise):
    measure = pytest.importorskip("skimage.measure")
    rng = np.random.default_rng(size)
    mask = np.kron(rng.integers(0, 3, (4, 4)), np.ones((size // 4, size // 4), int))
    mask = np.where(rng.random(mask.shape) < noise, rng.integers(0, 4, mask.shape), mask)
    expected = {}
    for label in range(3):
        parts = measure.regionprops(measure.label(mask == label, connectivity=2))
        inside = [one for one in parts if min(one.bbox[:2]) > 0 and max(one.bbox[2:]) < size]
        expected[label] = sum(one.area <= 8 for one in inside)
    found = check_truth(TruthMask.of(mask.astype(np.uint8), 3))
    assert {one.index: one.count for one in found if one.check == "island"} == expected


def test_ragged_void():
    rng = np.random.default_rng(0)
    mask = square()
    mask[rng.random(mask.shape) < 0.08] = 3  # specks
    assert found(mask)["ragged_void"].count > 32


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(8, 30), st.integers(8, 90))
def test_thin_void_is_what_no_square_of_two_covers(seed, height, width):
    mask = np.where(np.random.default_rng(seed).random((height, width)) < 0.4, 3, 0)
    void = np.pad(mask == 3, 1)
    squares = void[1:, 1:] & void[:-1, 1:] & void[1:, :-1] & void[:-1, :-1]
    covered = np.zeros_like(void)
    for y, x in zip(*np.nonzero(squares), strict=True):
        covered[y : y + 2, x : x + 2] = True
    thin, total = int((void & ~covered).sum()), int(void.sum())
    finding = found(mask.astype(np.uint8)).get("ragged_void")
    expects = total >= 64 and thin > total / 2
    assert (finding.count if finding else None) == (thin if expects else None)


def test_an_even_void_border_is_fine():
    mask = square()
    mask[8:32, 8:32], mask[11:29, 11:29] = 3, 1
    assert "ragged_void" not in found(mask)


def test_nothing_labelled():
    assert set(found(np.full((9, 9), 3, np.uint8))) == {"nothing_labelled"}
    assert "nothing_labelled" in found(np.zeros((0, 0), np.uint8))


def test_checks_name_themselves():
    mask = np.full((40, 40), 3, np.uint8)
    for name, check in TRUTH_CHECKS.items():
        assert {finding.check for finding in check(TruthMask.of(mask, 3))} <= {name}


def test_official_voc_masks_have_no_ragged_void(shared):
    for path in sorted((shared / "data" / "voc").glob("*.png")):
        mask = np.asarray(Image.open(path))
        if mask.ndim == 2:
            assert "ragged_void" not in found(np.where(mask == 255, 21, mask), 21), path.name
