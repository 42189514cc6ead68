"""Calibration against torchmetrics, against the paper's formula, and by hand."""

from fractions import Fraction

import numpy as np
import pytest

from maskmill.pipeline.metrics import calibration
from maskmill.pipeline.metrics.totals import TotalsLayout, add_confidence

LAYOUT = TotalsLayout(3, ("a", "b", "c"))


def totals_of(truth, prediction, confidence):
    vector = np.zeros(LAYOUT.size)
    add_confidence(vector, LAYOUT, calibration.count_levels(truth, prediction, confidence, 3))
    return LAYOUT.split(vector)


def sample(seed=0):
    rng = np.random.default_rng(seed)
    confidence = rng.random((50, 60)).astype(np.float32)
    truth = rng.integers(0, 3, confidence.shape).astype(np.uint8)
    right = rng.random(confidence.shape) < confidence**2
    return truth, np.where(right, truth, (truth + 1) % 3).astype(np.uint8), confidence


def test_equals_torchmetrics():
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    truth, prediction, confidence = sample()
    # as a two-class question "is the prediction right?", asked with the same confidences
    theirs = binary_calibration_error(
        torch.from_numpy(confidence.ravel().astype(np.float64)),
        torch.from_numpy((truth == prediction).ravel().astype(int)),
        n_bins=15,
        norm="l1",
    )
    ours = calibration.expected_calibration_error(totals_of(truth, prediction, confidence))
    assert ours == pytest.approx(theirs.item(), abs=1e-6)


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 6.0])
def test_equals_torchmetrics_over_all_classes(sharpness):
    """The multiclass definition, from whole distributions in float64, over the same 15 bins."""
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    rng = np.random.default_rng(7)
    probabilities = rng.dirichlet([1 / sharpness] * 3, (60, 70))
    truth = rng.integers(0, 3, (60, 70)).astype(np.uint8)
    theirs = multiclass_calibration_error(
        torch.from_numpy(probabilities.reshape(-1, 3)), torch.from_numpy(truth.ravel().astype(int)),
        num_classes=3, n_bins=15, norm="l1",
    )  # fmt: skip
    prediction = probabilities.argmax(-1).astype(np.uint8)
    found = totals_of(truth, prediction, probabilities.max(-1))
    ours = calibration.expected_calibration_error(found)
    assert ours == pytest.approx(theirs.item(), abs=1e-6)


def test_pixels_without_a_class_leave():
    truth, prediction, confidence = sample(1)
    expected = totals_of(truth[:, :40], prediction[:, :40], confidence[:, :40])
    truth[:, 40:50], prediction[:, 50:] = 3, 4
    ours = totals_of(truth, prediction, confidence)
    np.testing.assert_array_equal(ours.level_pixels, expected.level_pixels)
    np.testing.assert_allclose(ours.level_confidence, expected.level_confidence, rtol=1e-12)


def guo(confidence, right, bins=15):
    """The paper's formula, bin after bin, in exact fractions."""
    confidence = [Fraction(float(one)) for one in confidence.ravel()]
    total = Fraction(0)
    for m in range(1, bins + 1):
        low, high = float((m - 1) / bins), float(m / bins)
        inside = [
            k for k, one in enumerate(confidence) if low < one <= high or (m == 1 and not one)
        ]
        total += abs(sum(int(right.ravel()[k]) - confidence[k] for k in inside))
    return float(total / len(confidence))


@pytest.mark.parametrize("steps", [60, 15, 255, 65535])
def test_equals_guos_formula_on_the_edges_of_its_bins_too(steps):
    """Confidences as grey pictures hold them, k / 255: every fifth part of them is an edge."""
    rng = np.random.default_rng(steps)
    confidence = rng.integers(0, steps + 1, (40, 40)) / steps
    truth = rng.integers(0, 3, confidence.shape).astype(np.uint8)
    prediction = np.where(rng.random(confidence.shape) < 0.7, truth, (truth + 1) % 3)
    ours = calibration.expected_calibration_error(
        totals_of(truth, prediction.astype(np.uint8), confidence)
    )
    assert ours == pytest.approx(guo(confidence, truth == prediction), abs=1e-12)


@pytest.mark.parametrize("value, level", [
    (0.0, 0), (1.0, 59), (0.5, 29), (1 / 60, 0), (0.05, 2), (59 / 60, 58), (0.0166, 0),
    (51 / 255, 11), (np.nextafter(0.2, 1), 12), (1e-300, 0),
])  # fmt: skip
def test_edges_belong_to_the_lower_level(value, level):
    one = np.zeros((1, 1), np.uint8)
    levels = calibration.count_levels(one, one, np.full((1, 1), value, np.float64), 3)
    assert np.flatnonzero(levels[0]).tolist() == [level]


def test_curves_by_hand():
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    prediction = np.array([[0, 1, 1, 1]], np.uint8)
    confidence = np.array([[0.95, 0.25, 0.55, 0.95]])
    totals = totals_of(truth, prediction, confidence)
    curve = calibration.coverage_curve(totals)
    assert curve[0] == {"confidence": 0.0, "coverage": 1.0, "accuracy": 0.75}
    assert curve[20] == {"confidence": 20 / 60, "coverage": 0.75, "accuracy": 1.0}
    assert calibration.changed_per_decile(totals) == [
        {"from": 0.2, "pixels": 1.0, "changed": 1.0}, {"from": 0.5, "pixels": 1.0, "changed": 0.0},
        {"from": 0.9, "pixels": 2.0, "changed": 0.0},
    ]  # fmt: skip
    bins = calibration.reliability(totals)
    assert [entry["accuracy"] for entry in bins] == [0.0, 1.0, 1.0]
    assert sum(entry["pixels"] for entry in bins) == 4
    error = calibration.expected_calibration_error(totals)
    assert error == pytest.approx((0.25 + 0.45 + 2 * 0.05) / 4)


def test_no_confidences_no_number():
    empty = LAYOUT.split(np.zeros(LAYOUT.size))
    assert np.isnan(calibration.expected_calibration_error(empty))
    assert calibration.coverage_curve(empty) == calibration.reliability(empty) == []
