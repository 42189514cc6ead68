"""Streams made of runs are those that zlib inflates to the bytes, checksum and all."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.masks.changes import changes
from maskmill.pipeline.masks.deflated_runs import ByteRuns, deflated_runs


def stream_of(values, lengths):
    """Inflated by zlib, which checks the sum; and what it should be."""
    values, lengths = np.asarray(values, np.uint8), np.asarray(lengths, np.int64)
    runs = ByteRuns(np.cumsum(lengths) - lengths, values, int(lengths.sum()))
    return deflated_runs(runs), np.repeat(values, lengths).tobytes()


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 0, 0, 1, 2, 20, 255]) | st.integers(0, 255),
            st.integers(1, 8) | st.integers(1, 600) | st.sampled_from([258, 259, 260, 261, 517]),
        ),
        min_size=1, max_size=200,
    )
)  # fmt: skip
def test_any_runs(pairs):
    data, expected = stream_of(*zip(*pairs, strict=True))
    assert zlib.decompress(data) == expected


@pytest.mark.parametrize("length", [*range(1, 9), 256, 257, 258, 259, 260, 261, 10**7])
@pytest.mark.parametrize("value", [0, 255])
def test_a_single_run(value, length):
    data, expected = stream_of([value], [length])
    assert zlib.decompress(data) == expected
    assert len(data) < 80 + length // 1000  # two bits for 258 bytes


def test_every_length_of_a_match():
    data, expected = stream_of(np.arange(300) % 7, np.arange(1, 301))
    assert zlib.decompress(data) == expected


def test_more_runs_than_one_block_has():
    rng = np.random.default_rng(0)
    data, expected = stream_of(rng.integers(0, 256, 200_000), rng.integers(1, 4, 200_000))
    assert zlib.decompress(data) == expected


def test_the_rarest_values_have_codes_that_the_format_allows():
    """Numbers of Fibonacci would need 24 bits, 15 are allowed."""
    numbers = [1, 1]
    while len(numbers) < 25:
        numbers.append(numbers[-1] + numbers[-2])
    values = np.random.default_rng(0).permutation(np.repeat(np.arange(25), numbers))
    data, expected = stream_of(values[:65_000], np.ones(65_000))
    assert zlib.decompress(data) == expected
    steep = np.repeat(np.arange(20), numbers[:20])
    data, expected = stream_of(steep, np.ones(len(steep)))
    assert zlib.decompress(data) == expected


def test_runs_cost_about_what_zlib_makes_of_the_bytes():
    rng = np.random.default_rng(1)
    data, expected = stream_of(
        np.cumsum(rng.integers(1, 21, 5000)) % 21, rng.integers(1, 2000, 5000)
    )
    engine = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    assert len(data) <= 1.02 * len(engine.compress(expected) + engine.flush())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 400), st.integers(1, 60), st.integers(0, 2**32 - 1),
    st.sampled_from([np.uint8, np.uint16, np.bool_]), st.sampled_from([0.0, 0.01, 0.5]),
)  # fmt: skip
def test_changes_are_where_neighbours_differ(size, distance, seed, dtype, share):
    rng = np.random.default_rng(seed)
    flat = np.where(rng.random(size) < share, rng.integers(0, 2, size), 1).astype(dtype)
    expected = [p for p in range(size - distance) if flat[p] != flat[p + distance]]
    assert changes(flat, distance).tolist() == expected
