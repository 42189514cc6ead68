"""Components of runs against those that OpenCV finds pixel by pixel."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.masks.run_components import run_components

pytestmark = pytest.mark.usefixtures("loops")
SPAN = 64


def runs_of(classes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Places, lengths and codes of the runs in (H, W) classes, some of them cut in two; 0 is none.

    Between rows lies a run without a pixel, as in JointRuns.
    """
    found = []
    for y, row in enumerate(classes):
        cuts = np.flatnonzero((row[1:] != row[:-1]) | (rng.random(len(row) - 1) < 0.1)) + 1
        starts = [0, *cuts.tolist()]
        for start, stop in zip(starts, [*starts[1:], len(row)], strict=True):
            found.append((y * SPAN + start, stop - start, int(row[start]) or -1))
        found.append((y * SPAN + len(row), 0, -1))
    places, lengths, codes = np.array(found, dtype=np.int64).T
    return places, lengths, codes


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 14), st.integers(1, SPAN - 1), st.integers(2, 4),
    st.integers(1, 5),
)  # fmt: skip
def test_components_are_those_of_every_class_alone(seed, height, width, classes, size):
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, classes, (-(-height // size), -(-width // size)))
    mask = np.kron(blocks, np.ones((size, size), int))[:height, :width].astype(np.uint8)
    places, lengths, codes = runs_of(mask, rng)
    found = run_components(places, lengths, codes, SPAN)
    expected = set()
    for index in range(1, classes):
        _, labels, stats, _ = cv2.connectedComponentsWithStats(
            (mask == index).view(np.uint8), connectivity=8
        )
        for number, (x, y, w, h, area) in enumerate(stats[1:].tolist(), start=1):
            first = int(np.flatnonzero(labels.ravel() == number)[0])
            expected.add((first, index, area, (x, y, w, h)))
    boxes = map(tuple, found.boxes.tolist())
    rows = list(zip(found.codes.tolist(), found.areas.tolist(), boxes, strict=True))
    assert rows == [tuple(one[1:]) for one in sorted(expected)]
    assert (found.numbers[codes < 0] == -1).all()
    for number, (code, area, _) in enumerate(rows):
        own = found.numbers == number
        assert (codes[own] == code).all() and lengths[own].sum() == area


@pytest.mark.parametrize("count", [0, 1])
def test_few_runs(count):
    places = np.arange(count)
    found = run_components(places, places + 1, places, 10)
    assert found.codes.tolist() == [0] * count and found.boxes.tolist() == [[0, 0, 1, 1]] * count


def test_a_comb_is_one_component():
    """Its teeth are joined in the last row only, so that every root moves."""
    height, teeth = 30, 25
    mask = np.zeros((height, 2 * teeth), np.uint8)
    mask[:, ::2] = 1
    mask[-1] = 1
    found = run_components(*runs_of(mask, np.random.default_rng(0)), SPAN)
    assert found.areas.tolist() == [int(mask.sum())]
    assert found.boxes.tolist() == [[0, 0, 2 * teeth, height]]
