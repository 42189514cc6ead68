"""Bits of pictures against the same done with bytes, pixel by pixel."""

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.metrics.bit_planes import PlaneLayout, count, count_shared

shapes = st.tuples(st.integers(1, 30), st.integers(1, 150))


def flags_of(seed, shape, share=0.03):
    return np.random.default_rng(seed).random(shape) < share


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), shapes, st.lists(st.integers(0, 90), min_size=1, max_size=4))
def test_grown_equals_a_dilation_by_a_square(seed, shape, radii):
    flags, radii = flags_of(seed, shape, 0.01), tuple(sorted(radii))
    layout = PlaneLayout.of(shape, radii[-1])
    for radius, plane in zip(radii, layout.growing(layout.pack(flags), radii), strict=True):
        square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
        expected = cv2.dilate(flags.astype(np.uint8), square).astype(bool)
        np.testing.assert_array_equal(layout.unpack(plane), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), shapes, st.integers(0, 70))
def test_planes_hold_what_was_put_in(seed, shape, reach):
    flags, other = flags_of(seed, shape), flags_of(seed + 1, shape, 0.4)
    layout = PlaneLayout.of(shape, reach)
    plane, beside = layout.pack(flags), layout.pack(other)
    np.testing.assert_array_equal(layout.unpack(plane), flags)
    np.testing.assert_array_equal(layout.places(plane), np.flatnonzero(flags))
    assert count(plane) == flags.sum()
    shared = count_shared(np.stack((plane, beside)), np.stack((beside, plane, plane & beside)))
    both = (flags & other).sum()
    assert shared.tolist() == [[both, flags.sum(), both], [other.sum(), both, both]]


def test_values_larger_than_a_band_are_found_in_every_band():
    picture = np.random.default_rng(0).integers(0, 300, (700, 513)).astype(np.uint16)
    layout = PlaneLayout.of(picture.shape, 40)
    for value, plane in zip((0, 7, 299), layout.values(picture, (0, 7, 299)), strict=True):
        np.testing.assert_array_equal(layout.unpack(plane), picture == value)
        assert count(plane) == (picture == value).sum()  # nothing is counted beside the picture


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), shapes, st.integers(0, 20))
def test_the_inside_of_a_picture(seed, shape, depth):
    layout = PlaneLayout.of(shape, 1)
    expected = np.zeros(shape, bool)
    expected[depth : shape[0] - depth, depth : shape[1] - depth] = True
    if min(shape) <= 2 * depth:
        expected[:] = False
    np.testing.assert_array_equal(layout.unpack(layout.inner(depth)), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), shapes)
def test_squares_of_two(seed, shape):
    flags = flags_of(seed, shape, 0.7)
    layout = PlaneLayout.of(shape, 1)
    expected = np.zeros(shape, bool)
    corners = flags[1:, 1:] & flags[:-1, 1:] & flags[1:, :-1] & flags[:-1, :-1]
    for y, x in zip(*np.nonzero(corners), strict=True):
        expected[y : y + 2, x : x + 2] = True
    np.testing.assert_array_equal(layout.unpack(layout.in_squares(layout.pack(flags))), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), shapes, st.integers(1, 6))
def test_what_touches_another_value(seed, shape, num_values):
    """Values that are not asked for are all one: void."""
    blocks = np.random.default_rng(seed).integers(0, num_values + 2, shape).astype(np.uint8)
    picture = np.minimum(np.kron(blocks, np.ones((3, 3), np.uint8)), num_values)
    layout = PlaneLayout.of(picture.shape, 1)
    found = layout.touching(layout.values(picture, range(num_values)))
    ring = np.ones((3, 3), np.uint8)
    expected = cv2.dilate(picture, ring) != cv2.erode(picture, ring)
    np.testing.assert_array_equal(layout.unpack(found), expected)
