"""Regions against scikit-image's labelling, and planted label errors."""

import numpy as np
import pytest

from maskmill.pipeline.audit import disagreement
from maskmill.pipeline.metrics.bit_planes import PlaneLayout
from maskmill.pipeline.metrics.confusion import count_pair
from maskmill.pipeline.metrics.joint_runs import scan

pytestmark = pytest.mark.usefixtures("loops")


def regions_of(truth, prediction, num_classes=4, **options):
    matrix = count_pair(truth, prediction, num_classes).matrix
    runs, _ = scan(truth, prediction, num_classes, PlaneLayout.of(truth.shape, 1))
    return disagreement.disagreeing_regions(runs.of_classes(), matrix, **options)


def test_regions_equal_scikit_image():
    measure = pytest.importorskip("skimage.measure")
    rng = np.random.default_rng(0)
    truth = np.kron(rng.integers(0, 4, (8, 9)), np.ones((9, 9), int)).astype(np.uint8)
    prediction = np.kron(rng.integers(0, 3, (8, 9)), np.ones((9, 9), int)).astype(np.uint8)
    codes = np.where(truth == prediction, 0, truth.astype(int) * 4 + prediction + 1)
    numbers = measure.label(codes, connectivity=2, background=0)
    expected = []
    for entry in measure.regionprops(numbers):
        y0, x0, y1, x1 = entry.bbox
        code = codes[numbers == entry.label][0] - 1
        expected.append(
            (int(entry.area), int(code // 4), int(code % 4), (x0, y0, x1 - x0, y1 - y0))
        )
    expected.sort(key=lambda row: (-row[0], row[3]))
    found = regions_of(truth, prediction, limit=200)
    ours = [(one.area, one.truth, one.prediction, one.bbox) for one in found]
    assert ours == expected and len(ours) > 10


def test_a_planted_label_error_ranks_above_a_dispute_over_borders():
    truth = np.zeros((120, 160), np.uint8)
    truth[20:60, 20:60] = 1
    prediction = truth.copy()
    prediction[18:62, 18:62] = 1  # a border two pixels wider: 336 pixels
    prediction[80:100, 100:116] = 2  # an object nobody labelled: 320 pixels
    border, missed = regions_of(truth, prediction)
    assert (border.area, border.core) == (336, 0)
    assert (missed.truth, missed.prediction, missed.bbox) == (0, 2, (100, 80, 16, 20))
    assert (missed.area, missed.core) == (320, 10 * 14)
    reliability = np.array([0.9, 0.9, 0.8, np.nan])
    assert disagreement.suspicion(border, reliability) == 0
    assert disagreement.suspicion(missed, reliability) == pytest.approx(0.8 * 140 / 320)


def test_confidences_speak_where_there_are_some():
    truth = np.zeros((40, 40), np.uint8)
    prediction = truth.copy()
    prediction[:20, :10], prediction[:, 30:] = 1, 3
    confidence = np.full(truth.shape, 0.5, np.float32)
    confidence[:20, :10] = 0.75
    low, high = regions_of(truth, prediction, confidence=confidence)
    assert (low.confidence, high.confidence) == (0.5, 0.75)
    unsure = disagreement.suspicion(low, np.ones(4)) / (low.core / low.area)
    assert unsure == pytest.approx(0.5)


def test_ignore_is_in_no_region():
    truth = np.full((30, 30), 4, np.uint8)
    assert regions_of(truth, np.zeros_like(truth)) == []
    assert regions_of(np.zeros_like(truth), truth) == []


def test_regions_touching_at_a_corner_are_one_and_small_ones_are_left_out():
    truth, prediction = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    prediction[0:6, 0:6] = prediction[6:12, 6:12] = 1
    prediction[18:, 18:] = 1
    (region,) = regions_of(truth, prediction)
    assert region.area == 72 and region.bbox == (0, 0, 12, 12)


def test_confusions_are_ranked_by_pixels():
    matrix = np.array([[50, 30, 0, 9], [5, 0, 5, 0], [0, 0, 7, 0], [9, 9, 9, 9]])
    ranked = disagreement.ranked_confusions(matrix)
    assert [(one.truth, one.prediction, one.pixels) for one in ranked] == [
        (0, 1, 30), (1, 0, 5), (1, 2, 5),
    ]  # fmt: skip
    assert ranked[0].share == pytest.approx(30 / 89)
    assert len(disagreement.ranked_confusions(matrix, limit=1)) == 1
