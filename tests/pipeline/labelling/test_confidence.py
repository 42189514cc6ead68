"""Confidence on the grid against SciPy's softmax and entropy in float64."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import entropy

from maskmill.pipeline.labelling.confidence import (
    grid_confidence,
    grid_probabilities,
    point_confidence,
    summarise,
)


def expected(grid):
    """top1, the four means and the class means, by SciPy in float64."""
    probabilities = softmax(grid.astype(np.float64), axis=0)
    ordered = np.sort(probabilities, axis=0)
    top1 = ordered[-1]
    means = (
        top1.mean(),
        (entropy(probabilities, axis=0) / math.log(len(grid))).mean(),
        (top1 - ordered[-2]).mean(),
    )
    winner = grid.argmax(axis=0)
    by_class = [
        top1[winner == c].mean() if (winner == c).any() else np.nan for c in range(len(grid))
    ]
    return top1, means, np.array(by_class)


grids = st.builds(
    lambda seed, classes, height, width, amplitude: (
        np.random.default_rng(seed).normal(size=(classes, height, width)) * amplitude
    ).astype(np.float32),
    st.integers(0, 2**32 - 1),
    st.integers(2, 30),
    st.integers(1, 8),
    st.integers(1, 8),
    st.sampled_from([0.0, 0.1, 1.0, 10.0, 1000.0]),
)


def assert_same(result, grid):
    top1, means, by_class = expected(grid)
    assert result.top1.dtype == np.float32 and result.class_confidence.dtype == np.float64
    np.testing.assert_allclose(result.top1, top1, atol=2e-6)
    found = result.mean_confidence, result.mean_entropy, result.mean_margin
    np.testing.assert_allclose(found, means, atol=2e-6)
    np.testing.assert_allclose(result.class_confidence, by_class, atol=2e-6)
    low = (np.abs(top1 - 0.5) > 1e-5) & (top1 < 0.5)
    unsure = (np.abs(top1 - 0.5) <= 1e-5).mean()
    assert low.mean() <= result.low_confidence_fraction <= low.mean() + unsure


@given(grids)
@settings(max_examples=150, deadline=None)
def test_logits(grid):
    assert_same(grid_confidence(grid), grid)


@given(grids)
@settings(max_examples=100, deadline=None)
def test_probabilities_and_parts_of_them(grid):
    probabilities = grid_probabilities(grid)
    np.testing.assert_allclose(probabilities, softmax(grid.astype(np.float64), axis=0), atol=1e-6)
    before = probabilities.copy()
    parts = [point_confidence(probabilities[:, y]) for y in range(grid.shape[1])]
    assert np.array_equal(probabilities, before)
    result = summarise(parts, len(grid), grid.shape[1:])
    top1, means, _ = expected(grid)
    np.testing.assert_allclose(result.top1, top1, atol=2e-6)
    found = result.mean_confidence, result.mean_entropy, result.mean_margin
    np.testing.assert_allclose(found, means, atol=2e-6)


@given(grids)
@settings(max_examples=50, deadline=None)
def test_the_grid_is_left_as_it_was(grid):
    before = grid.copy()
    grid_confidence(grid)
    assert np.array_equal(grid, before)


def test_channels_last_as_networks_give_them():
    """The same values in another order in memory have the same confidence, margin included."""
    logits = np.random.default_rng(4).normal(size=(7, 9, 5)).astype(np.float32).transpose(2, 0, 1)
    assert not logits.flags.c_contiguous
    assert_same(grid_confidence(logits), logits)
    assert grid_confidence(logits).mean_margin > 0.05


def test_one_channel_is_two_classes():
    logit = np.array([[[-2.0, 0.5, 3.0]]], dtype=np.float32)
    probability = 1 / (1 + np.exp(-logit[0].astype(np.float64)))
    result = grid_confidence(logit)
    top1 = np.maximum(probability, 1 - probability)
    np.testing.assert_allclose(result.top1, top1, atol=1e-6)
    np.testing.assert_allclose(grid_probabilities(logit)[1], probability, atol=1e-6)
    assert result.class_confidence.shape == (2,)
    np.testing.assert_allclose(result.class_confidence, [top1[0, 0], top1[0, 1:].mean()], atol=1e-6)
    assert result.mean_margin == pytest.approx(np.abs(2 * probability - 1).mean(), abs=1e-6)
    assert result.mean_entropy == pytest.approx(
        entropy([probability.ravel(), 1 - probability.ravel()], base=2).mean(), abs=1e-6
    )


def test_extremes():
    even = grid_confidence(np.zeros((8, 3, 3), dtype=np.float32))
    assert even.mean_confidence == 0.125 and even.mean_margin == 0.0
    assert even.mean_entropy == pytest.approx(1.0) and even.mean_entropy <= 1.0
    assert even.low_confidence_fraction == 1.0
    assert even.class_confidence[0] == 0.125 and np.isnan(even.class_confidence[1:]).all()
    sure = np.full((8, 3, 3), -3e38, dtype=np.float32)
    sure[5] = 3e38
    sure_result = grid_confidence(sure)
    assert sure_result.mean_confidence == 1.0 and sure_result.mean_margin == 1.0
    assert sure_result.mean_entropy == 0.0 and sure_result.low_confidence_fraction == 0.0
    assert sure_result.class_confidence[5] == 1.0


def test_what_is_not_a_grid_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        grid_confidence(np.full((2, 2, 2), np.nan, dtype=np.float32))
    with pytest.raises(ValueError, match="classes, height, width"):
        grid_confidence(np.zeros((2, 0, 2), dtype=np.float32))
    for wrong in (np.full((2, 2, 2), 0.4), np.array([[[1.5]], [[-0.5]]])):
        with pytest.raises(ValueError, match="not probabilities"):
            point_confidence(wrong.astype(np.float32))
