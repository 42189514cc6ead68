"""A sigmoid head with a threshold against SciPy's sigmoid at every pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from maskmill.pipeline.labelling.binary import threshold_logit, two_class_grid
from maskmill.pipeline.labelling.upsample import sample_bilinear, upsample_argmax
from maskmill.pipeline.views.geometry import onto_grid, resized


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.floats(0.01, 0.99),
)
@settings(max_examples=150, deadline=None)
def test_above_the_threshold(seed, points, size, threshold):
    grid = np.random.default_rng(seed).normal(size=(1, *points)).astype(np.float32) * 5
    maps = [
        onto_grid(resized(n, 128), 128, k, "half_pixel") for n, k in zip(size, points, strict=True)
    ]
    probability = expit(sample_bilinear(grid[0], *maps, size).astype(np.float64))
    mask = upsample_argmax(two_class_grid(grid, threshold), *maps, size)
    clear = np.abs(probability - threshold) > 1e-6
    assert np.array_equal(mask[clear], (probability > threshold)[clear].astype(np.uint8))


def test_at_one_half_it_is_the_sign_and_zero_is_not_above():
    grid = np.array([[[-1.0, 0.0, 1.0]]], dtype=np.float32)
    axis = (
        onto_grid(resized(1, 1), 1, 1, "half_pixel"),
        onto_grid(resized(3, 3), 3, 3, "half_pixel"),
    )
    assert upsample_argmax(two_class_grid(grid), *axis, (1, 3)).tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("threshold", [1e-6, 0.25, 0.5, 0.9, 1 - 1e-6])
def test_the_logit_of_a_threshold(threshold):
    assert threshold_logit(threshold) == pytest.approx(logit(threshold), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5, 1.5, float("nan")])
def test_thresholds_out_of_range_are_refused(threshold):
    with pytest.raises(ValueError, match="between 0 and 1"):
        threshold_logit(threshold)


def test_more_than_one_channel_is_refused():
    with pytest.raises(ValueError, match="sigmoid head"):
        two_class_grid(np.zeros((2, 3, 3), dtype=np.float32))
