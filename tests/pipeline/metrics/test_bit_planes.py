"""Bits of pictures against the same done with bytes, pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.metrics.bit_planes import (
    PlaneLayout,
    count,
    painted,
    set_bits,
)

pytestmark = pytest.mark.usefixtures("loops")

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
    others = flags_of(seed + 1, shape, 0.01)
    layout = PlaneLayout.of(shape, reaches[-1])
    planes, size = np.stack([framed(layout, one) for one in (flags, others)]), 1
    for reach in reaches:
        planes, size = layout.widened(planes, size, 2 * reach), 2 * reach
        near = np.empty((2, layout.height * layout.words), planes.dtype)
        layout.around(planes, reach, near)
        for one, plane in zip((flags, others), near, strict=True):
            np.testing.assert_array_equal(layout.unpack(plane), grown(one, reach))


def grown(flags, reach):
    """Up to ``reach`` before, ``reach - 1`` behind."""
    expected = np.zeros(flags.shape, bool)
    for y, x in zip(*np.nonzero(flags), strict=True):
        expected[max(0, y - reach + 1) : y + reach + 1, max(0, x - reach + 1) : x + reach + 1] = 1
    return expected


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), shapes, st.integers(1, 40), st.integers(0, 29), st.integers(1, 30))
def test_a_slab_knows_what_lies_around_its_rows(seed, shape, reach, top, size):
    flags, layout = flags_of(seed, shape, 0.01), PlaneLayout.of(shape, reach)
    top = min(top, shape[0] - 1)
    size = min(size, shape[0] - top)
    part, windows = layout.slab([framed(layout, flags)], top, size)
    near = np.empty((1, size * layout.words), windows.dtype)
    part.around(part.widened(windows, 1, 2 * reach), reach, near)
    np.testing.assert_array_equal(part.unpack(near[0]), grown(flags, reach)[top : top + size])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), shapes, st.integers(1, 70))
def test_planes_hold_what_was_put_in(seed, shape, reach):
    flags = flags_of(seed, shape)
    layout = PlaneLayout.of(shape, reach)
    plane = packed(layout, flags)
    np.testing.assert_array_equal(layout.unpack(plane), flags)
    assert count(plane) == flags.sum()
    y, x = np.divmod(set_bits(plane), layout.span)
    np.testing.assert_array_equal((y, x), np.nonzero(flags))


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
def test_even_squares(seed, shape):
    """Pixels that a square of two without a flag covers."""
    flags, layout = flags_of(seed, shape, 0.3), PlaneLayout.of(shape, 1)
    covered = np.zeros(shape, bool)
    even = ~flags[:-1, :-1]
    for y, x in zip(*np.nonzero(even), strict=True):
        covered[y : y + 2, x : x + 2] = True
    blocks = framed(layout, flags)
    np.testing.assert_array_equal(layout.unpack(layout.covered(blocks)), covered)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 11), st.integers(0, 60))
def test_painted_holds_each_run(seed, words, runs):
    size = 64 * words
    places = np.sort(
        np.random.default_rng(seed).choice(size + 1, min(2 * runs, size), replace=False)
    )
    starts, stops = places[: len(places) // 2 * 2].reshape(-1, 2).T
    expected = np.zeros(size, np.uint8)
    for start, stop in zip(starts, stops, strict=True):
        expected[start:stop] = 1
    bits = painted(starts, stops, words).view(np.uint8)
    np.testing.assert_array_equal(np.unpackbits(bits, bitorder="little"), expected)
