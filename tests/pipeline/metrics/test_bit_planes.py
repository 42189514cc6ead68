"""Bits of pictures against the same done with bytes, pixel by pixel."""

from itertools import pairwise

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.metrics.bit_planes import (
    BitCounter,
    PlaneLayout,
    count,
    painted,
    set_bits,
)

shapes = st.tuples(st.integers(1, 30), st.integers(1, 150))


def flags_of(seed, shape, share=0.03):
    return np.random.default_rng(seed).random(shape) < share


def packed(layout, flags):
    rows = np.zeros((layout.height, layout.span), bool)
    rows[:, : layout.width] = flags
    return np.packbits(rows, bitorder="little").view("<u8")


def framed(layout, flags):
    """The same with the empty rows above that windows need."""
    plane = layout.empty()
    rows = layout.rows(plane, 0, layout.height)
    rows[:] = packed(layout, flags).reshape(rows.shape)
    return plane


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), shapes, st.lists(st.integers(1, 90), min_size=1, max_size=4))
def test_windows_around_a_pixel_hold_what_lies_there(seed, shape, reaches):
    flags, reaches = flags_of(seed, shape, 0.01), sorted(reaches)
    layout = PlaneLayout.of(shape, reaches[-1])
    windows = layout.windows(framed(layout, flags), tuple(2 * one for one in reaches))
    for reach, plane in zip(reaches, windows, strict=True):
        expected = np.zeros(shape, bool)
        for y, x in zip(*np.nonzero(flags), strict=True):  # up to reach before, reach - 1 behind
            expected[
                max(0, y - reach + 1) : y + reach + 1, max(0, x - reach + 1) : x + reach + 1
            ] = 1
        np.testing.assert_array_equal(layout.unpack(layout.around(plane, reach)), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), shapes, st.integers(1, 70))
def test_planes_hold_what_was_put_in(seed, shape, reach):
    flags = flags_of(seed, shape)
    layout = PlaneLayout.of(shape, reach)
    plane = packed(layout, flags)
    np.testing.assert_array_equal(layout.unpack(plane), flags)
    np.testing.assert_array_equal(layout.pixels(plane), np.flatnonzero(flags))
    assert count(plane) == flags.sum()
    y, x = np.divmod(set_bits(plane), layout.span)
    np.testing.assert_array_equal((y, x), np.nonzero(flags))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), shapes, st.integers(1, 5), st.integers(2, 40))
def test_bits_are_counted_run_by_run(seed, shape, planes, runs):
    rng = np.random.default_rng(seed)
    layout = PlaneLayout.of(shape, 1)
    flags = [flags_of(seed + number, shape, 0.4) for number in range(planes)]
    places = np.sort(rng.choice(layout.height * layout.span, runs))
    counter = BitCounter(layout, places)
    shown = flags[: counter.most]
    found = counter.runs([packed(layout, one) for one in shown])
    digits = counter.digits(found.astype(np.float64), len(shown))
    for one, digit in zip(shown, digits, strict=True):
        wide = np.zeros((layout.height, layout.span), bool)
        wide[:, : layout.width] = one
        expected = [wide.ravel()[a:b].sum() for a, b in pairwise(places)]
        np.testing.assert_array_equal(digit, expected)


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
def test_beside_equals_a_dilation(seed, shape):
    flags, layout = flags_of(seed, shape), PlaneLayout.of(shape, 1)
    expected = cv2.dilate(flags.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    np.testing.assert_array_equal(layout.unpack(layout.beside(packed(layout, flags))), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), shapes)
def test_even_squares(seed, shape):
    """Pixels that a square of two without a flag covers, and middles of squares of three."""
    flags, layout = flags_of(seed, shape, 0.3), PlaneLayout.of(shape, 1)
    covered, centres = np.zeros(shape, bool), np.zeros(shape, bool)
    even = ~flags[:-1, :-1]
    for y, x in zip(*np.nonzero(even), strict=True):
        covered[y : y + 2, x : x + 2] = True
    for y, x in np.ndindex(max(0, shape[0] - 2), max(0, shape[1] - 2)):
        centres[y + 1, x + 1] = even[y : y + 2, x : x + 2].all()
    found = [layout.unpack(one) for one in layout.even(framed(layout, flags))]
    np.testing.assert_array_equal(found, (covered, centres))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 700), st.floats(0, 0.5))
def test_painted_is_the_parity_so_far(seed, size, share):
    edges = flags_of(seed, (size,), share)
    np.testing.assert_array_equal(painted(edges), np.cumsum(edges) % 2)
