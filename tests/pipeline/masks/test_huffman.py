"""Codes are prefix free, as short as codes can be, and never longer than allowed."""

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.masks.huffman import code_lengths, codes_of


def least_bits(frequencies):
    """The length of the best coded text: the sum of all nodes above leaves."""
    heap, total = [number for number in frequencies if number], 0
    heapq.heapify(heap)
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        total += joined
        heapq.heappush(heap, joined)
    return total


@given(
    st.lists(st.integers(0, 3) | st.integers(0, 10**6), min_size=2, max_size=286).filter(
        lambda numbers: sum(map(bool, numbers)) >= 2
    )
)
def test_no_code_is_shorter(frequencies):
    lengths = code_lengths(frequencies, 60)
    assert [bool(length) for length in lengths] == [bool(number) for number in frequencies]
    assert sum(n * bits for n, bits in zip(frequencies, lengths, strict=True)) == least_bits(
        frequencies
    )
    limited = code_lengths(frequencies, 15)
    assert max(limited) <= 15
    assert sum(2.0**-length for length in limited if length) == 1


def test_the_example_of_the_standard():
    """RFC 1951, section 3.2.2: A to H; here each code begins with its lowest bit."""
    codes = ["010", "011", "100", "101", "110", "00", "1110", "1111"]
    lengths = [len(code) for code in codes]
    assert codes_of(lengths) == [int(code[::-1], 2) for code in codes]
    assert codes_of([0, 1, 0, 1]) == [0, 0, 0, 1]


def test_one_symbol_has_no_code():
    with pytest.raises(ValueError, match="two symbols"):
        code_lengths([0, 5, 0], 15)
