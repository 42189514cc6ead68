"""Candidates and contests on bounds and values written by hand."""

import numpy as np

from maskmill.pipeline.labelling.pruning import candidates, contest


def test_a_class_is_dropped_where_another_is_above_it_for_certain():
    lowest = np.array([[0, 0, 5, 1], [2, 0, 1, 1], [0, 0, 0, 0]], dtype=np.float32)
    highest = np.array([[1, 9, 6, 1], [3, 3, 5, 2], [2, 0, 1, 1]], dtype=np.float32)
    found = candidates(lowest, highest)
    lists = [
        found.classes[start : start + count].tolist()
        for start, count in zip(found.starts, found.counts, strict=True)
    ]
    # Bounds that touch leave both: they may be equal there.
    assert lists == [[1, 2], [0, 1, 2], [0, 1], [0, 1, 2]]
    assert found.first(np.uint8).tolist() == [1, 0, 0, 0]


def test_contested_cells_come_most_candidates_first():
    lowest = np.zeros((3, 4), dtype=np.float32)
    highest = np.array([[1, 1, 1, 1], [-1, 1, 1, -1], [-1, -1, 1, 1]], dtype=np.float32)
    found = candidates(lowest, highest)
    assert found.counts.tolist() == [1, 2, 3, 2]
    assert found.contested(np.array([0, 1, 2, 3])).tolist() == [2, 1, 3]
    assert found.contested(np.array([3, 0, 0, 2])).tolist() == [3, 0]
    assert found.contested(np.array([0])).tolist() == []


def test_a_contest_is_an_argmax_over_candidates_only():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 3, size=(5, 2, 3, 7)).astype(np.float32)  # many ties
    allowed = rng.random((5, 7)) < 0.5
    allowed[2] = True
    bounds = np.where(allowed, 1, -1).astype(np.float32)
    found = candidates(np.zeros((5, 7), np.float32), bounds)
    cells = np.argsort(-found.counts, kind="stable")

    def values_of(classes, out):
        out[:] = values[classes, :, :, cells[: len(classes)]].transpose(1, 2, 0)

    labels, highest = contest(found, cells, (2, 3), values_of, np.uint8)
    masked = np.where(allowed[:, None, None], values, -np.inf)
    assert np.array_equal(labels, masked.argmax(axis=0)[..., cells])
    assert np.array_equal(highest, masked.max(axis=0)[..., cells])
