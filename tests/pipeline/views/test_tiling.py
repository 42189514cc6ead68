"""Windows: they cover, they overlap, and their weights sum to one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.views.tiling import interval_starts, plan_windows

plans = st.tuples(
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
    st.integers(1, 220),
    st.floats(0, 0.95),
)


@given(plans)
@settings(max_examples=150, deadline=None)
def test_weights_sum_to_one_at_every_pixel(plan):
    size, window, overlap = plan
    if max(size) / max(1, window * (1 - overlap)) > 60:
        return  # thousands of windows say nothing more
    total = np.zeros(size)
    tops = []
    for part in plan_windows(size, window, overlap):
        assert part.height == min(window, size[0]) and part.width == min(window, size[1])
        assert part.row_weights.min() > 0 and part.col_weights.min() > 0
        assert part.top >= 0 and part.left >= 0
        total[part.slices] += np.outer(part.row_weights, part.col_weights)
        tops.append(part.top)
    np.testing.assert_allclose(total, 1.0, atol=1e-6)
    assert tops == sorted(tops)


@given(st.integers(1, 5000), st.integers(1, 600), st.floats(0, 0.9))
@settings(max_examples=300, deadline=None)
def test_neighbours_overlap_by_the_share_asked_for(size, window, overlap):
    starts = interval_starts(size, window, overlap)
    assert starts[0] == 0 and starts[-1] + min(window, size) == size
    steps = np.diff(starts)
    if len(steps):
        assert steps.max() <= max(1, window - round(overlap * window))
        assert steps.max() - steps.min() <= 1 and steps.min() >= 0


def test_known_plans():
    assert interval_starts(1000, 1000, 0.5) == [0]
    assert interval_starts(1001, 1000, 0.5) == [0, 1]
    assert interval_starts(2000, 1000, 0.0) == [0, 1000]
    assert interval_starts(2000, 1000, 0.25) == [0, 500, 1000]
    assert interval_starts(300, 1000, 0.25) == [0]


def test_weights_blend_linearly_and_are_level_at_the_edges():
    first, second = plan_windows((1, 150), 100, 0.5)
    assert (first.col_weights[:50] == 1).all() and (second.col_weights[50:] == 1).all()
    np.testing.assert_allclose(first.col_weights[50:], (np.arange(50, 0, -1) - 0.5) / 50, rtol=1e-6)
    np.testing.assert_allclose(first.col_weights[50:] + second.col_weights[:50], 1.0, atol=1e-6)


def test_no_overlap_is_a_hard_edge():
    for part in plan_windows((40, 60), 20, 0.0):
        assert (part.row_weights == 1).all() and (part.col_weights == 1).all()


@pytest.mark.parametrize("size, window, overlap", [((0, 5), 5, 0), ((5, 5), 0, 0), ((5, 5), 5, 1)])
def test_impossible_plans_are_refused(size, window, overlap):
    with pytest.raises(ValueError, match="cannot cover"):
        plan_windows(size, window, overlap)
