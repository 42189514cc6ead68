"""The brush bit stream: any mask, literal blocks of other encoders, damaged and hostile streams."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from maskmill.pipeline.datasets.documents.label_studio_brush import brush_to_mask, mask_to_brush
from maskmill.schemas.errors import DocumentFailure, ErrorCode


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_round_trip(mask: np.ndarray) -> None:
    shape = (mask.shape[0], mask.shape[1])
    assert np.array_equal(brush_to_mask(mask_to_brush(mask), shape, name="m"), mask)


@pytest.mark.parametrize("size", [2, 4, 64, 16383, 16384, 16385, 40000])
def test_runs_at_the_borders_of_the_length_fields(size: int) -> None:
    mask = np.zeros((1, size + 2), bool)
    mask[0, 1:-1] = True  # 4 * size values: 8, 16, 256, 65536 and around
    assert np.array_equal(brush_to_mask(mask_to_brush(mask), mask.shape, name="m"), mask)


def bits_to_bytes(bits: str) -> list[int]:
    return [int(bits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8)]


HEADER = f"{16:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"


@given(st.lists(st.sampled_from([0, 1, 255]), min_size=4, max_size=4))
def test_literal_blocks(alphas: list[int]) -> None:
    """One literal block of all 16 values of a 2 x 2 picture."""
    values = [value for alpha in alphas for value in (9, 9, 9, alpha)]
    bits = HEADER + "0" + "01" + f"{15:04b}" + "".join(f"{value:08b}" for value in values)
    found = brush_to_mask(bits_to_bytes(bits), (2, 2), name="m")
    assert found.ravel().tolist() == [alpha > 0 for alpha in alphas]


def test_literal_between_runs() -> None:
    bits = (
        HEADER
        + "1" + "00" + f"{3:03b}" + f"{0:08b}"  # four zeros
        + "0" + "00" + f"{7:03b}" + "".join(f"{v:08b}" for v in [1, 1, 1, 255, 2, 2, 2, 0])
        + "1" + "00" + f"{3:03b}" + f"{255:08b}"
    )  # fmt: skip
    assert brush_to_mask(bits_to_bytes(bits), (2, 2), name="m").tolist() == [
        [False, True],
        [False, True],
    ]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ([], ErrorCode.MALFORMED),  # no header
        ("AAAA", ErrorCode.MALFORMED),  # text
        (None, ErrorCode.MALFORMED),
        (12, ErrorCode.MALFORMED),  # bytes(12) would be twelve zeros
        (10**12, ErrorCode.MALFORMED),  # and this more than there is memory
        ([300] * 12, ErrorCode.MALFORMED),  # no bytes
        ([0, 0, 0, 96, 57, 27, 254, 31], ErrorCode.UNSAFE_SIZE),  # another picture's count
        ([255] * 12, ErrorCode.UNSAFE_SIZE),  # four billion values declared
        (bits_to_bytes(HEADER + "1" + "11" + "1" * 16), ErrorCode.MALFORMED),  # too many values
        (bits_to_bytes(HEADER), ErrorCode.MALFORMED),  # ends before the first token
        (bits_to_bytes(HEADER + "0" + "01" + "1111" + "1" * 16), ErrorCode.MALFORMED),  # cut
        (bits_to_bytes(HEADER.replace("00111", "01111", 1)), ErrorCode.MALFORMED),  # 16-bit words
    ],
)
def test_damaged_streams(data: object, code: ErrorCode) -> None:
    with pytest.raises(DocumentFailure) as caught:
        brush_to_mask(data, (2, 2), name="task 5")
    assert caught.value.code is code
    assert "task 5" in str(caught.value)
