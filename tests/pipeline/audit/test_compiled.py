"""The compiled loops and the arrays that stand in for them give the same rows of an audit."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.audit.pair import Measures, audit_masks
from maskmill.pipeline.audit.pair_masks import ValueTables
from maskmill.pipeline.metrics.compiled import arrays_only, native
from maskmill.pipeline.metrics.confusion import value_table

CLASSES = 6
VALUES = np.array([0, 1, 2, 3, 5, 6, 30, 255], np.uint8)  # two of them are no class
MAPPING = {0: 1, 1: 0, 2: None, 3: 4, 5: 5}


def row_of(truth, prediction, tables, confidence):
    return audit_masks(
        truth, prediction, tuple(f"class {number}" for number in range(CLASSES)), tables=tables,
        measures=Measures(alignment=min(truth.shape) > 20), read_confidence=lambda: confidence,
    )  # fmt: skip


def blocky(rng: np.random.Generator, shape: tuple[int, int], size: int) -> np.ndarray:
    """Blocks of one value each; of size 1 it is noise."""
    blocks = rng.choice(VALUES, (-(-shape[0] // size), -(-shape[1] // size)))
    return cv2.resize(blocks, shape[::-1], interpolation=cv2.INTER_NEAREST)


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, 10_000), st.tuples(st.integers(1, 90), st.integers(1, 200)),
    st.sampled_from([1, 2, 5, 13]), st.floats(0, 1), st.booleans(), st.booleans(),
)  # fmt: skip
def test_rows_are_equal(seed, shape, size, agreement, is_mapped, has_confidence):
    if native() is None:
        pytest.skip("the package was installed without a compiler")
    rng = np.random.default_rng(seed)
    truth, other = blocky(rng, shape, size), blocky(rng, shape, 3)
    prediction = np.where(blocky(rng, shape, 7) < 256 * agreement, truth, other)
    table = value_table(CLASSES, ignore=[255], bits=8, mapping=MAPPING if is_mapped else None)
    confidence = rng.random(shape, dtype=np.float32) if has_confidence else None
    given = truth, prediction.astype(np.uint8), ValueTables(table, table), confidence
    with arrays_only():
        expected = row_of(*given)
    assert row_of(*given) == expected


def test_large_pictures_go_through_slabs():
    """65,536 words of a plane are looked at together, and bands of 262,144 pixels."""
    rng = np.random.default_rng(3)
    truth, prediction = blocky(rng, (2100, 2700), 90), blocky(rng, (2100, 2700), 110)
    table = value_table(CLASSES, ignore=[255], bits=8)
    measures = Measures(alignment=False)
    names = tuple("abcdef")

    def row(truth: np.ndarray, prediction: np.ndarray) -> dict:
        return audit_masks(
            truth, prediction, names, tables=ValueTables(table, table), measures=measures,
            read_confidence=lambda: None,
        )  # fmt: skip

    found = row(truth, prediction)
    with arrays_only():
        assert row(truth, prediction) == found
    turned = row(truth.T.copy(), prediction.T.copy())  # whose slabs end elsewhere
    assert (turned["classes"], turned["trimap"]) == (found["classes"], found["trimap"])
