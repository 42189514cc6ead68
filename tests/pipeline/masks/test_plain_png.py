"""The short way into the usual mask gives what Pillow gives, or leaves the file to Pillow."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from maskmill.pipeline.audit.values import read_mask_values
from maskmill.pipeline.masks.picture import MAX_PIXELS
from maskmill.pipeline.masks.plain_png import plain_png, read_plain_png
from maskmill.schemas.errors import ErrorCode, MaskFailure
from maskmill.schemas.labels import builtin

VOC = builtin("voc")


def saved(mask, mode, **options):
    picture = Image.fromarray(mask)
    if mode == "P":
        picture.putpalette(VOC.palette)
    stream = io.BytesIO()
    picture.save(stream, "PNG", **options)
    return stream.getvalue()


def png(width, height, depth, color, rows, *, interlace=0, stream=None):
    """A PNG from raw rows, filter bytes included, or from a stream that is said to be deflated."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    chunks = [(b"IHDR", header), (b"IDAT", stream or zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def plain(data):
    return read_plain_png(data, max_pixels=MAX_PIXELS)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from("LP"),
    st.integers(0, 9), st.sampled_from([2, 21, 256]),
)  # fmt: skip
def test_the_same_as_pillow_or_nothing(height, width, seed, mode, level, values):
    mask = np.random.default_rng(seed).integers(0, values, (height, width)).astype(np.uint8)
    data = saved(mask, mode, compress_level=level)
    found = plain(data)
    if found is not None:
        np.testing.assert_array_equal(found.values, mask)
        assert found.mode == mode and (found.palette == b"") == (mode == "L")
    values, kind = read_mask_values(data, VOC, name="m")
    np.testing.assert_array_equal(values, mask)
    assert kind.startswith("palette, mode P" if mode == "P" else "indexed, mode L")


def test_palette_masks_as_people_write_them_take_the_short_way():
    mask = np.kron(np.arange(20).reshape(4, 5), np.ones((16, 16), int)).astype(np.uint8)
    found = plain(saved(mask, "P"))
    assert found is not None and found.palette[:63] == VOC.palette[:63]
    np.testing.assert_array_equal(found.values, mask)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 30), st.integers(1, 4), st.integers(0, 2**32 - 1), st.sampled_from([0, 0.3, 1])
)  # fmt: skip
def test_rows_as_differences_from_the_row_above_are_those_of_pillow(height, width, seed, share):
    rng = np.random.default_rng(seed)
    lines = rng.integers(0, 256, (height, 80 * width + 1)).astype(np.uint8)
    lines[rng.random(height) < 0.4] = 0
    lines[:, 0] = 2 * (rng.random(height) < share)
    data = png(80 * width, height, 8, 0, lines.tobytes())
    found = plain(data)
    assert found is not None
    np.testing.assert_array_equal(found.values, np.array(Image.open(io.BytesIO(data))))


def labels_like(rng, shape, classes, cell):
    """Blocks of labels with slanted edges, blank rows at the top, repeated ones between."""
    small = rng.integers(0, classes, [-(-side // cell) for side in shape]).astype(np.uint8)
    mask = small.repeat(cell, 0)[: shape[0]].repeat(min(cell, shape[1]), 1)[:, : shape[1]]
    slanted = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % (5 * cell) < cell
    mask[: shape[0] // 2][slanted[: shape[0] // 2]] = classes - 1
    mask[: rng.integers(0, 3)] = 0
    return mask


@pytest.mark.parametrize("cell", [2, 40, 400])
@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (7, 1), (1, 530_000), (530_000, 1), (801, 999)])
def test_what_is_written_is_read_by_us_and_by_others(shape, cell):
    rng = np.random.default_rng(cell)
    for classes, palette in ((2, None), (21, VOC.palette), (256, None)):
        mask = labels_like(rng, shape, classes, cell)
        data = plain_png(mask, palette=palette, text={"b": "x", "a": "größe ✓"})
        assert data == plain_png(mask.copy(), palette=palette, text={"a": "größe ✓", "b": "x"})
        found, mode = plain(data), "P" if palette else "L"
        assert shape[1] < 64 or found is not None
        if found is not None:
            assert found.mode == mode
            np.testing.assert_array_equal(found.values, mask)
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.text == {"a": "größe ✓", "b": "x"}
            assert picture.mode == mode
            np.testing.assert_array_equal(np.array(picture), mask)
            assert palette is None or bytes(picture.palette.getdata()[1]) == palette
        if palette is None:
            seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(seen, mask)


def test_a_row_like_the_one_above_costs_a_few_bytes_whatever_is_in_it():
    rng = np.random.default_rng(3)
    row = np.repeat(rng.integers(0, 21, 10), 200).astype(np.uint8)
    few, many = (plain_png(np.tile(row, (rows, 1))) for rows in (600, 1200))
    assert len(many) - len(few) < 600 * 6


def test_a_mask_without_pixels_is_refused():
    with pytest.raises(ValueError, match="0 x 3"):
        plain_png(np.zeros((3, 0), np.uint8))


ROWS = b"\0\1\2\0\3\4"
TEXT = PngImagePlugin.PngInfo()
TEXT.add_text("Software", "any")


@pytest.mark.parametrize("data, fits", [
    pytest.param(png(2, 2, 8, 0, ROWS), True, id="plain"),
    pytest.param(saved(np.ones((2, 2), np.uint8), "P", pnginfo=TEXT), True, id="with a text"),
    pytest.param(png(2, 2, 8, 0, b"\1\1\2\0\3\4"), False, id="a filtered row"),
    pytest.param(png(2, 30, 8, 0, b"\0\1\2" * 30), True, id="many rows"),
    pytest.param(png(80, 30, 8, 0, (b"\0" + b"\1" * 80) * 29 + b"\2" * 81), True, id="late Up"),
    pytest.param(png(2, 30, 8, 0, b"\0\1\2" * 29 + b"\1\0\0"), False, id="a late filter"),
    pytest.param(png(2, 30, 8, 0, b"\2\1\2" * 30), False, id="narrow differences"),
    pytest.param(png(2, 2, 8, 0, b"\0\1\2\5\0\0"), False, id="a filter that is none"),
    pytest.param(png(999, 900, 8, 0, bytes(900_000)), True, id="several bands"),
    pytest.param(png(999, 900, 8, 0, bytes(900_001)), False, id="a byte more"),
    pytest.param(png(999, 900, 8, 0, bytes(899_000)), False, id="a row less"),
    pytest.param(png(300_000, 2, 8, 0, bytes(600_002)), True, id="rows longer than a band"),
    pytest.param(png(2, 2, 8, 0, ROWS, interlace=1), False, id="interlaced"),
    pytest.param(png(2, 2, 4, 0, b"\0\1\0\2"), False, id="four bits"),
    pytest.param(png(2, 2, 8, 2, b"\0" * 14), False, id="colours"),
    pytest.param(png(2, 2, 8, 0, ROWS[:-1]), False, id="too few pixels"),
    pytest.param(png(2, 2, 8, 0, ROWS + b"\0"), False, id="too many pixels"),
    pytest.param(png(2, 2, 8, 0, b"", stream=b"\x78\x9cnothing"), False, id="no stream"),
    pytest.param(
        png(2, 2, 8, 0, b"", stream=zlib.compress(ROWS)[:-4] + bytes(4)), False, id="a wrong sum"
    ),
    pytest.param(png(0, 2, 8, 0, b""), False, id="no width"),
    pytest.param(png(2, 2, 8, 0, ROWS)[:-13], False, id="cut off"),
    pytest.param(png(2, 2, 8, 0, ROWS).replace(b"IEND", b"IEOD"), False, id="damaged end"),
    pytest.param(png(2, 2, 8, 0, ROWS)[:60], False, id="half"),
    pytest.param(b"", False, id="nothing"),
    pytest.param(b"\x89PNG\r\n\x1a\n", False, id="a signature"),
])  # fmt: skip
def test_everything_out_of_the_ordinary_is_left_to_pillow(data, fits):
    assert (plain(data) is not None) == fits


def test_a_flipped_bit_is_never_read():
    data = bytearray(saved(np.arange(200, dtype=np.uint8).reshape(10, 20), "P"))
    for place in range(8, len(data)):
        data[place] ^= 4
        assert plain(bytes(data)) is None, place
        data[place] ^= 4


def test_too_many_pixels_are_left_to_the_limit():
    data = png(2, 2, 8, 0, ROWS)
    assert read_plain_png(data, max_pixels=3) is None
    with pytest.raises(MaskFailure) as caught:
        read_mask_values(png(60_000, 60_000, 8, 0, b"\0"), VOC, name="m")
    assert caught.value.code is ErrorCode.TOO_MANY_PIXELS


def test_an_orientation_tag_is_seen():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(np.ones((2, 2), np.uint8), "L", exif=exif)
    assert plain(data) is None
    assert "EXIF orientation 6 not applied" in read_mask_values(data, VOC, name="m")[1]
