"""What an audit's rows say of which masks they are about."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.audit.pair import Measures, audit_masks
from maskmill.pipeline.audit.pair_masks import ValueTables, mask_print
from maskmill.pipeline.metrics.confusion import to_class_map, value_table

pytestmark = pytest.mark.usefixtures("loops")

CLASSES = 5
NAMES = tuple(f"class {number}" for number in range(CLASSES))
TABLES = {
    "plain": value_table(CLASSES, ignore=[255], bits=8),
    "mapped": value_table(CLASSES, ignore=[255], bits=8, mapping={0: 3, 1: 1, 2: None, 9: 0}),
}


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.tuples(st.integers(1, 9), st.integers(1, 70)),
    st.sampled_from(sorted(TABLES)), st.sampled_from(sorted(TABLES)),
)  # fmt: skip
def test_the_prints_of_a_row_are_those_of_its_class_maps(seed, shape, first, second):
    rng = np.random.default_rng(seed)
    values = np.array([0, 1, 2, 9, 255], np.uint8)
    masks = [values[rng.integers(0, 5, shape)].repeat(2, axis=1) for _ in range(2)]
    tables = TABLES[first], TABLES[second]
    row = audit_masks(
        *masks, NAMES, tables=ValueTables(*tables), measures=Measures(alignment=False),
        read_confidence=lambda: None,
    )  # fmt: skip
    maps = [to_class_map(*side, CLASSES) for side in zip(masks, tables, strict=True)]
    assert [row["truth_sha256"], row["prediction_sha256"]] == [mask_print(one) for one in maps]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 6))
def test_prints_are_equal_where_the_maps_are(seed, height, width):
    """Also of maps with the same pixels in rows of other lengths, and of one pixel changed."""
    rng = np.random.default_rng(seed)
    flat = rng.integers(0, 2, height * width).astype(np.uint8)
    shapes = {(height, width), (width, height), (1, height * width), (height * width, 1)}
    maps = [flat.reshape(shape) for shape in sorted(shapes)]
    other = flat.copy()
    other[rng.integers(0, len(flat))] = 2
    maps.append(other.reshape(height, width))
    assert len({mask_print(one) for one in maps}) == len(maps)
    assert mask_print(maps[0]) == mask_print(np.asfortranarray(maps[0]).astype(np.uint16))
