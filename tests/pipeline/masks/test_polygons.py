"""Polygons against pycocotools' own rasteriser: exact at no loss, within the budget with one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

from maskmill.pipeline.masks.polygons import (
    mask_to_polygons,
    numbers_to_ring,
    parts_to_rings,
    rings_to_mask,
)
from maskmill.schemas.errors import DocumentFailure

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=14))


def drawn(mask: np.ndarray, rings: list[np.ndarray]) -> np.ndarray:
    """What pycocotools makes of the rings: their union."""
    if not rings:
        return np.zeros(mask.shape, bool)
    rles = coco_mask.frPyObjects([ring.ravel().tolist() for ring in rings], *mask.shape)
    return coco_mask.decode(rles).any(axis=2)


@settings(max_examples=300)
@given(MASKS)
def test_no_loss_is_exact_for_any_mask(mask: np.ndarray) -> None:
    found = mask_to_polygons(mask)
    assert found.iou == 1.0
    assert np.array_equal(drawn(mask, parts_to_rings(found.parts)), mask)


@given(MASKS, st.sampled_from([0.01, 0.05, 0.3]))
def test_the_loss_stays_within_the_budget_and_is_what_is_said(
    mask: np.ndarray, budget: float
) -> None:
    found = mask_to_polygons(mask, budget)
    back = drawn(mask, parts_to_rings(found.parts))
    union = np.count_nonzero(back | mask)
    iou = np.count_nonzero(back & mask) / union if union else 1.0
    assert found.iou == pytest.approx(iou)
    assert found.iou >= 1 - budget


def test_parts_and_holes_keep_their_hierarchy() -> None:
    mask = np.zeros((12, 20), bool)
    mask[1:9, 1:9] = True
    mask[3:7, 3:7] = False
    mask[4, 4] = True  # an island in the hole
    mask[2:5, 12:18] = True
    mask[3, 13] = mask[3, 16] = False
    found = mask_to_polygons(mask)
    assert [len(part.holes) for part in found.parts] == [1, 2, 0]
    assert found.parts[0].outer.tolist() == [[1, 1], [9, 1], [9, 9], [1, 9]]


def test_a_circle_gets_far_fewer_corners() -> None:
    rows, columns = np.mgrid[:200, :200]
    mask = (rows - 100) ** 2 + (columns - 100) ** 2 < 80**2
    exact, simple = mask_to_polygons(mask), mask_to_polygons(mask, 0.01)
    assert len(simple.parts[0].outer) < len(exact.parts[0].outer) / 10
    assert simple.iou >= 0.99


def test_pixels_touching_at_a_corner_are_two_parts() -> None:
    assert len(mask_to_polygons(np.eye(3, dtype=bool)).parts) == 3


@pytest.mark.parametrize(
    "numbers",
    [[1, 2, 3, 4], [1, 2, 3, 4, 5], "123456", None, ["a"] * 6, [[1, 2], [3, 4], [5, 6]], []],
)
def test_numbers_that_are_no_polygon(numbers: object) -> None:
    with pytest.raises(DocumentFailure, match="annotation 7"):
        numbers_to_ring(numbers, name="annotation 7")


@pytest.mark.parametrize("corner", [np.nan, np.inf, 1e9])
def test_absurd_corners_are_refused(corner: float) -> None:
    with pytest.raises(DocumentFailure):
        rings_to_mask([np.array([[0, 0], [corner, 0], [4, 4]])], (5, 5), name="x")
