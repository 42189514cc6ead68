"""Counting against scikit-learn, torchmetrics and hand-made tables."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.metrics import confusion
from maskmill.schemas.errors import ErrorCode, MaskFailure, SettingsError

pytestmark = pytest.mark.usefixtures("loops")


def random_pair(seed, shape=(40, 60), values=6, noise=0.3, dtype=np.uint8):
    """Blocky truth and a noisy prediction; a few pixels of ignore in both."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, values, (shape[0] // 8 + 1, shape[1] // 8 + 1))
    truth = np.kron(coarse, np.ones((8, 8), int))[: shape[0], : shape[1]].astype(dtype)
    prediction = np.where(rng.random(shape) < noise, rng.integers(0, values, shape), truth).astype(
        dtype
    )
    top = np.iinfo(dtype).max
    truth[rng.random(shape) < 0.05] = top
    prediction[rng.random(shape) < 0.02] = top
    return truth, prediction


def plain_matrix(truth, prediction, num_classes, ignore):
    """One pixel after the other."""
    matrix = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    for left, right in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        row = left if left < num_classes and left != ignore else num_classes
        column = right if right < num_classes and right != ignore else num_classes
        matrix[row, column] += 1
    return matrix


@pytest.mark.parametrize("num_classes, dtype", [
    (6, np.uint8),     # the usual case
    (1, np.uint8),     # one class
    (150, np.uint8),   # ADE20K
    (255, np.uint8),   # as many as uint8 holds beside ignore
    (300, np.uint16),  # beyond uint8
])  # fmt: skip
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.9])  # long runs, short runs, every pixel
def test_equals_scikit_learn(num_classes, dtype, noise):
    from sklearn.metrics import confusion_matrix

    truth, prediction = random_pair(7, values=num_classes, noise=noise, dtype=dtype)
    counts = confusion.count_pair(truth, prediction, num_classes)
    top = np.iinfo(dtype).max
    folded = [np.where(mask == top, num_classes, mask).ravel() for mask in (truth, prediction)]
    expected = confusion_matrix(*folded, labels=range(num_classes + 1))
    assert counts.matrix.dtype == np.int64
    np.testing.assert_array_equal(counts.matrix, expected)
    assert counts.truth_out_of_range == counts.prediction_out_of_range == {}


def test_equals_torchmetrics_confusion_matrix():
    import torch
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    truth, prediction = random_pair(3, values=5)
    prediction[prediction == 255] = 0  # torchmetrics has no place for an ignored prediction
    ours = confusion.count_pair(truth, prediction, 5).matrix
    theirs = multiclass_confusion_matrix(
        torch.from_numpy(prediction.astype(np.int64)),
        torch.from_numpy(truth.astype(np.int64)),
        num_classes=5,
        ignore_index=255,
    )
    np.testing.assert_array_equal(ours[:5, :5], theirs.numpy())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_counting_one_pixel_after_the_other(data):
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    num_classes = data.draw(st.integers(1, 5))
    values = st.lists(
        st.sampled_from([*range(7), 255]), min_size=height * width, max_size=height * width
    )
    truth, prediction = (
        np.array(data.draw(values), np.uint8).reshape(height, width) for _ in range(2)
    )
    counts = confusion.count_pair(truth, prediction, num_classes)
    np.testing.assert_array_equal(counts.matrix, plain_matrix(truth, prediction, num_classes, 255))
    for mask, census in (
        (truth, counts.truth_out_of_range),
        (prediction, counts.prediction_out_of_range),
    ):
        strange = [value for value in mask.ravel().tolist() if num_classes <= value < 255]
        assert census == {value: strange.count(value) for value in set(strange)}


def test_bands_add_up(monkeypatch):
    truth, prediction = random_pair(1, noise=0.01)
    prediction[3, :50] = 77
    whole = confusion.count_pair(truth, prediction, 6)
    monkeypatch.setattr(confusion, "BAND_PIXELS", 37)
    assert str(confusion.count_pair(truth, prediction, 6)) == str(whole)
    assert whole.prediction_out_of_range == {77: 50}


def test_a_matrix_beyond_two_to_the_31_pixels_is_exact():
    truth = np.zeros((1, 3), np.uint8)
    one = confusion.count_pair(truth, np.array([[0, 0, 1]], np.uint8), 2).matrix
    total = confusion.empty_matrix(2)
    merged = one * (2**33 + 1)  # as many merged pairs
    confusion.add_cells(
        total,
        np.array([0, 0, 0]),
        np.array([0, 1, 1]),
        np.array([merged[0, 0], merged[0, 1], 1]),
    )
    assert total[0].tolist() == [2 * (2**33 + 1), 2**33 + 2, 0]


def test_cells_round_trip():
    truth, prediction = random_pair(2)
    matrix = confusion.count_pair(truth, prediction, 6).matrix
    cells = confusion.nonzero_cells(matrix)
    again = confusion.empty_matrix(6)
    columns = ([cell[name] for cell in cells] for name in ("truth", "prediction", "pixels"))
    confusion.add_cells(again, *(np.array(column) for column in columns))
    np.testing.assert_array_equal(again, matrix)


def test_ignore_values_and_map():
    truth = np.array([[0, 7, 9, 255]], np.uint8)
    table = confusion.value_table(2, ignore=[9, 255], mapping={0: 0, 7: 1}, bits=8)
    counts = confusion.count_pair(truth, np.array([[0, 1, 1, 1]], np.uint8), 2, truth_table=table)
    assert counts.matrix.tolist() == [[1, 0, 0], [0, 1, 0], [0, 2, 0]]
    assert confusion.to_class_map(truth, table, 2).tolist() == [[0, 1, 2, 2]]


def test_a_map_does_not_chain():
    table = confusion.value_table(3, mapping={0: 1, 1: 2, 2: None}, bits=8)
    assert table[:4].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("arguments, words", [
    ({"ignore": [256]}, "256 is not a mask value"),       # beyond 8 bits
    ({"mapping": {0: 5}}, "sends 0 to 5"),                # to no class
    ({"mapping": {-1: 0}}, "-1 is not a mask value"),     # below
])  # fmt: skip
def test_tables_that_cannot_be(arguments, words):
    with pytest.raises(SettingsError, match=words):
        confusion.value_table(3, bits=8, **arguments)


def test_differing_sizes_are_refused():
    with pytest.raises(MaskFailure, match="4x3, the truth 3x4") as caught:
        confusion.count_pair(np.zeros((4, 3), np.uint8), np.zeros((3, 4), np.uint8), 2)
    assert caught.value.code is ErrorCode.SIZE_MISMATCH


def test_empty_masks_count_nothing():
    counts = confusion.count_pair(np.zeros((0, 5), np.uint8), np.zeros((0, 5), np.uint8), 3)
    assert counts.matrix.sum() == 0
