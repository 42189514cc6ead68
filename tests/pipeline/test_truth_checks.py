"""Planted oddities are found; real hand-made masks are not accused."""

import numpy as np
from PIL import Image

from pipeline.truth_checks import TRUTH_CHECKS, check_truth


def square(size=40):
    mask = np.zeros((size, size), np.uint8)
    mask[10:30, 10:30] = 1
    return mask


def found(mask, num_classes=3):
    return {finding.check: finding for finding in check_truth(mask, num_classes)}


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


def test_ragged_void():
    rng = np.random.default_rng(0)
    mask = square()
    mask[rng.random(mask.shape) < 0.08] = 3  # specks
    assert found(mask)["ragged_void"].count > 32


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
        assert {finding.check for finding in check(mask, 3)} <= {name}


def test_official_voc_masks_have_no_ragged_void(shared):
    for path in sorted((shared / "data" / "voc").glob("*.png")):
        mask = np.asarray(Image.open(path))
        if mask.ndim == 2:
            assert "ragged_void" not in found(np.where(mask == 255, 21, mask), 21), path.name
