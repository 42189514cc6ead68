"""Boundaries against the published erosion definition and brute force."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.metrics import boundary

pytestmark = pytest.mark.usefixtures("loops")


def published_boundary(binary, width):
    """Mask minus its erosion by ``width`` steps of 3 x 3, nothing around the picture."""
    padded = cv2.copyMakeBorder(binary, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)
    return binary - eroded[1:-1, 1:-1]


def blobs(seed, shape=(70, 90), classes=4):
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.random(shape).astype(np.float32), (0, 0), 5)
    edges = np.quantile(noise, np.linspace(0, 1, classes + 1)[1:-1])
    return np.digitize(noise, edges).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("width", [1, 2, 7, 40])
def test_all_classes_at_once_equal_the_published_definition(width, dtype):
    classes = blobs(0).astype(dtype)
    near = boundary.class_boundary(classes, width)
    for label in range(4):
        expected = published_boundary((classes == label).astype(np.uint8), width)
        np.testing.assert_array_equal(near & (classes == label), expected.astype(bool))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12), st.integers(1, 6))
def test_tiny_pictures_too(seed, height, width, steps):
    classes = np.random.default_rng(seed).integers(0, 3, (height, width)).astype(np.uint8)
    near = boundary.class_boundary(classes, steps)
    for label in range(3):
        expected = published_boundary((classes == label).astype(np.uint8), steps)
        np.testing.assert_array_equal(near & (classes == label), expected.astype(bool))


@pytest.mark.parametrize("num_classes, dtype", [(4, np.uint8), (300, np.uint16)])
def test_boundary_iou_equals_the_published_formula(num_classes, dtype):
    truth, prediction = blobs(1).astype(dtype), blobs(2).astype(dtype)
    width = boundary.boundary_width(*truth.shape)
    assert width == round(0.02 * (70**2 + 90**2) ** 0.5) == 2
    counts = boundary.count_boundary(truth, prediction, num_classes)
    for label in range(4):
        left = published_boundary((truth == label).astype(np.uint8), width)
        right = published_boundary((prediction == label).astype(np.uint8), width)
        assert counts.boundary_intersection[label] == (left & right).sum()
        assert counts.boundary_union[label] == (left | right).sum()


def test_the_trimap_equals_brute_force_distances():
    truth, prediction = blobs(5), blobs(6)
    truth[20:24] = 4  # void
    counts = boundary.count_boundary(truth, prediction, 4)
    height, width = truth.shape
    for row, reach in enumerate(boundary.TRIMAP_WIDTHS):
        padded = np.pad(truth, reach, mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1,) * 2)
        near = (windows.max(axis=(2, 3)) != windows.min(axis=(2, 3))).reshape(height, width)
        near &= truth < 4
        for label in range(4):
            left, right = near & (truth == label), near & (prediction == label)
            assert counts.trimap_intersection[row, label] == (left & right).sum()
            assert counts.trimap_union[row, label] == (left | right).sum()
    band = counts.band()
    assert boundary.TRIMAP_WIDTHS[3] == boundary.BAND_WIDTH == 5
    np.testing.assert_array_equal(band[1], counts.trimap_union[3])


def test_ignored_truth_leaves_both_sides():
    truth, prediction = blobs(7), blobs(8)
    truth[:, 30:40] = 4
    changed = prediction.copy()
    changed[:, 30:40] = 2
    one, other = (boundary.count_boundary(truth, mask, 4) for mask in (prediction, changed))
    np.testing.assert_array_equal(one.boundary_union, other.boundary_union)
    np.testing.assert_array_equal(one.trimap_intersection, other.trimap_intersection)


def test_a_perfect_prediction_and_an_empty_picture():
    truth = blobs(9)
    counts = boundary.count_boundary(truth, truth, 4)
    np.testing.assert_array_equal(counts.boundary_intersection, counts.boundary_union)
    void = np.full((10, 12), 4, np.uint8)
    assert boundary.count_boundary(void, truth[:10, :12], 4).boundary_union.sum() == 0


def test_a_finer_mask_costs_more_at_the_boundary_than_inside():
    """What the measure is for: small border errors of large objects show."""
    truth = np.zeros((200, 200), np.uint8)
    truth[40:160, 40:160] = 1
    prediction = np.zeros_like(truth)
    prediction[43:157, 43:157] = 1
    counts = boundary.count_boundary(truth, prediction, 2)
    boundary_iou = counts.boundary_intersection[1] / counts.boundary_union[1]
    assert boundary_iou < 0.5 < 114**2 / 120**2
