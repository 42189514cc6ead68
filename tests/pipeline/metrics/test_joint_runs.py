"""Runs and blocks of two masks against the same pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.metrics.bit_planes import PlaneLayout
from maskmill.pipeline.metrics.confusion import count_pair, count_runs, value_table
from maskmill.pipeline.metrics.joint_runs import scan

pytestmark = pytest.mark.usefixtures("loops")

VOID = 3


def masks_of(seed, height, width, size, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    values = np.array([0, 1, 2, VOID, 200, 255], dtype)
    blocks = rng.integers(0, 6, (2, height // size + 1, width // size + 1))
    return values[np.kron(blocks, np.ones((1, size, size), int))[:, :height, :width]]


def classes_of(truth, prediction):
    left, right = np.minimum(truth, VOID), np.minimum(prediction, VOID)
    return left, np.where(left == VOID, VOID, right)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 150), st.integers(1, 20),
    st.sampled_from([np.uint8, np.uint16]),
)  # fmt: skip
def test_runs_are_the_masks(seed, height, width, size, dtype):
    masks = masks_of(seed, height, width, size, dtype)
    layout = PlaneLayout.of((height, width), 5)
    runs, _ = scan(*masks, VOID, layout)
    assert runs.lengths.sum() == height * width
    for side, mask in zip((runs.truth, runs.prediction), masks, strict=True):
        np.testing.assert_array_equal(np.repeat(side, runs.lengths).reshape(mask.shape), mask)
    classes = runs.of_classes()
    for side, mask in zip((classes.truth, classes.prediction), classes_of(*masks), strict=True):
        np.testing.assert_array_equal(np.repeat(side, classes.lengths).reshape(mask.shape), mask)
    both = np.stack(classes_of(*masks))
    changes = height + (both[:, :, 1:] != both[:, :, :-1]).any(axis=0).sum()
    assert (classes.lengths > 0).sum() == changes and (classes.lengths == 0).sum() == height
    begins = classes.places[classes.lengths > 0]
    y, x = np.divmod(begins, layout.span)
    assert (np.diff(y * width + x) == classes.lengths[classes.lengths > 0][:-1]).all()


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 150), st.integers(1, 20))
def test_blocks_are_where_classes_meet(seed, height, width, size):
    masks = masks_of(seed, height, width, size)
    layout = PlaneLayout.of((height, width), 5)
    _, blocks = scan(*masks, VOID, layout)
    for plane, classes in zip((blocks.truth, blocks.prediction), classes_of(*masks), strict=True):
        wide = np.pad(classes, ((0, 1), (0, 1)), mode="edge")
        squares = np.stack([wide[:-1, :-1], wide[1:, :-1], wide[:-1, 1:], wide[1:, 1:]])
        expected = squares.min(axis=0) != squares.max(axis=0)
        np.testing.assert_array_equal(layout.unpack(plane[layout.top :]), expected)
        assert not plane[: layout.top].any()


def test_pictures_of_several_bands():
    masks = masks_of(0, 900, 700, 7)
    layout = PlaneLayout.of(masks.shape[1:], 40)
    runs, blocks = scan(*masks, VOID, layout)
    upper, upper_blocks = scan(*masks[:, :450], VOID, PlaneLayout.of((450, 700), 40))
    assert runs.places[: len(upper.places)].tolist() == upper.places.tolist()
    rows = [layout.rows(plane, 0, 449) for plane in (blocks.truth, upper_blocks.truth)]
    np.testing.assert_array_equal(*rows)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_nothing(shape):
    empty = np.zeros(shape, np.uint8)
    runs, blocks = scan(empty, empty, VOID, PlaneLayout.of(shape, 1))
    assert len(runs.places) == len(runs.of_classes().places) == 0
    assert not blocks.truth.any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 90), st.integers(1, 9))
def test_counting_runs_is_counting_pixels(seed, height, width, size):
    masks = masks_of(seed, height, width, size)
    table = value_table(VOID, ignore=[255], bits=8)
    runs, _ = scan(*masks, VOID, PlaneLayout.of((height, width), 1))
    found = count_runs(runs.truth, runs.prediction, runs.lengths, VOID, tables=(table, table))
    expected = count_pair(*masks, VOID, truth_table=table, prediction_table=table)
    np.testing.assert_array_equal(found.matrix, expected.matrix)
    assert found.truth_out_of_range == expected.truth_out_of_range
    assert found.prediction_out_of_range == expected.prediction_out_of_range
