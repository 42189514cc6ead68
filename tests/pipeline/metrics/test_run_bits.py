"""Bits counted in runs against the same done pixel by pixel."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.metrics.run_bits import RunBits


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 4), st.integers(0, 50),
    st.sampled_from((7, 70_000)),
)  # fmt: skip
def test_bits_are_counted_by_the_codes_of_the_runs(seed, words, planes, runs, size):
    rng = np.random.default_rng(seed)
    flags = rng.random((planes, 64 * words)) < 0.4
    cuts = np.sort(rng.choice(64 * words + 1, min(2 * runs, 64 * words), replace=False))
    starts, stops = cuts[: len(cuts) // 2 * 2].reshape(-1, 2).T
    codes = rng.integers(size - 7, size, len(starts))
    expected = np.zeros((planes, size), np.int64)
    for start, stop, code in zip(starts, stops, codes, strict=True):
        expected[:, code] += flags[:, start:stop].sum(axis=1)
    packed = np.packbits(flags, axis=1, bitorder="little").view("<u8")
    found = RunBits(starts, stops - starts, codes, size).count(packed)
    np.testing.assert_array_equal(found, expected)
