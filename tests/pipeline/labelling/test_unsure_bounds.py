"""The bounds that --min-confidence decides by hold at every point between four corners."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.labelling.unsure_bounds import SURE, UNSURE, block_states, tail_bounds


def between(corners, steps=9):
    """(…, steps², n): bilinear interpolation of (…, 4, n) corners at a lattice of points."""
    down, right = (part.reshape(-1) for part in np.meshgrid(*[np.linspace(0, 1, steps)] * 2))
    weights = np.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right),
                        down * right])  # fmt: skip
    return np.einsum("ip,...in->...pn", weights, corners.astype(np.float64))


@settings(max_examples=60)
@given(st.integers(0, 1 << 30), st.integers(1, 40), st.floats(0.01, 20))
def test_the_tail_lies_between_its_bounds(seed, classes, spread):
    rng = np.random.default_rng(seed)
    ahead = -np.abs(rng.normal(size=(classes, 4, 6)) * spread).astype(np.float32)
    light = rng.random((classes, 6)) < 0.7
    below, above = between(tail_bounds(ahead, light))
    powers = np.exp(between(ahead)) * light[:, None]
    total = powers.sum(axis=0)
    assert (np.exp(below) <= total + 1e-20).all()
    assert (np.exp(above) >= total).all()


@settings(max_examples=60)
@given(
    st.integers(0, 1 << 30),
    st.integers(2, 30),
    st.floats(0.01, 10),
    st.sampled_from([0.3, 0.5, 0.9]),
)
def test_what_the_corners_decide_is_so_everywhere(seed, classes, spread, minimum):
    rng = np.random.default_rng(seed)
    middle, rise = rng.normal(size=(classes, 1, 50)) * 3, rng.normal(size=(classes, 4, 50))
    corners = (middle + rise * spread).astype(np.float32)
    states = block_states(corners, minimum)
    values = between(corners)
    powers = np.exp(values - values.max(axis=0))
    top1 = 1 / powers.sum(axis=0)
    assert (top1[:, states == SURE] >= minimum * (1 - 1e-5)).all()
    assert (top1[:, states == UNSURE] < minimum * (1 + 1e-5)).all()


@pytest.mark.parametrize(("minimum", "expected"), [(0.5, SURE), (0.99, UNSURE)])
def test_even_cells_are_always_decided(minimum, expected):
    corners = np.repeat(np.array([2.0, 0.0, -1.0], np.float32)[:, None, None], 4, axis=1)
    assert block_states(corners, minimum).tolist() == [expected]  # the top-1 is 0.84
