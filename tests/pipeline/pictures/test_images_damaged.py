"""Damaged files: a picture that decodes in full, or one ImageFailure; never anything else."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.pictures.decoding import decode_image, picture_header
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.errors import ErrorCode, ImageFailure
from tests.sick_images import SICK_KINDS, draw_picture, encode, write_sick_images

PHOTO = draw_picture(np.random.default_rng(5), (64, 48))
SETTINGS: dict[str, tuple[str, dict[str, object]]] = {
    "jpeg": ("JPEG", {"quality": 90}),
    "jpeg progressive": ("JPEG", {"quality": 90, "progressive": True}),
    "jpeg restarts": ("JPEG", {"quality": 90, "restart_marker_blocks": 2}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {"quality": 80}),
    "webp lossless": ("WEBP", {"lossless": True}),
    "gif": ("GIF", {}),
    "tiff": ("TIFF", {}),
    "tiff deflate": ("TIFF", {"compression": "tiff_deflate"}),
    "tiff lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "bmp": ("BMP", {}),
    "ppm": ("PPM", {}),
    "jpeg 2000": ("JPEG2000", {}),
    "avif": ("AVIF", {}),
}
FILES = {name: encode(PHOTO, kind, **options) for name, (kind, options) in SETTINGS.items()}
WHOLE = {name: decode_image(data, name=name).pixels for name, data in FILES.items()}
TELLS_NOT_ITS_LENGTH = ("jpeg 2000",)  # a shorter code stream is a coarser picture by design


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_cut_file_decodes_in_full_or_fails(name):
    data, codes = FILES[name], set()
    near_both_ends = [*range(1, 40), *range(len(data) - 40, len(data))]
    for length in sorted({*near_both_ends, *np.linspace(1, len(data) - 1, 120).astype(int)}):
        try:
            pixels = decode_image(data[:length], name="x").pixels
        except ImageFailure as failure:
            codes.add(failure.code)
            continue
        if name not in TELLS_NOT_ITS_LENGTH:
            np.testing.assert_array_equal(pixels, WHOLE[name], f"cut at {length} of {len(data)}")
    assert ErrorCode.TRUNCATED in codes
    assert codes <= {ErrorCode.TRUNCATED, ErrorCode.CORRUPT, ErrorCode.NOT_AN_IMAGE}


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "bmp", "jpeg restarts"])
def test_the_middle_of_a_cut_file_is_called_truncated(name):
    data = FILES[name]
    for share in (0.3, 0.5, 0.7, 0.95):
        with pytest.raises(ImageFailure) as caught:
            decode_image(data[: int(len(data) * share)], name="x")
        assert caught.value.code is ErrorCode.TRUNCATED


@pytest.mark.parametrize("name", ["jpeg", "jpeg restarts", "jpeg progressive"])
def test_a_jpeg_filled_up_with_zeros_is_truncated(name):
    """What a broken download leaves where the file's space was reserved before."""
    data = FILES[name]
    half = data[: len(data) // 2]
    with pytest.raises(ImageFailure) as caught:
        decode_image(half + bytes(len(data) - len(half)), name="x")
    assert caught.value.code is ErrorCode.TRUNCATED


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_any_damage_gives_pixels_or_a_failure(data):
    name = data.draw(st.sampled_from(sorted(FILES)))
    damaged = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position] = data.draw(st.integers(0, 255))
    try:
        pixels = decode_image(bytes(damaged), name="x", max_pixels=10**6).pixels
    except ImageFailure as failure:
        assert str(failure).startswith("x")
        return
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    assert pixels.shape[0] * pixels.shape[1] <= 10**6


@given(st.sampled_from(sorted(FILES)), st.binary(max_size=60), st.integers(0, 80))
@settings(max_examples=300, deadline=None)
def test_any_bytes_after_a_good_beginning(name, junk, kept):
    data = FILES[name][:kept] + junk
    for read in (
        lambda: decode_image(data, name="x", max_pixels=10**6),
        lambda: picture_header(data),
    ):
        try:
            read()
        except ImageFailure as failure:
            assert failure.code in ErrorCode


@pytest.mark.parametrize("name", sorted(FILES))
def test_bytes_behind_the_end_do_no_harm(name):
    pixels = decode_image(FILES[name] + b"\0" * 100, name="x").pixels
    np.testing.assert_array_equal(pixels, WHOLE[name])


@pytest.mark.parametrize("seed", range(3))
def test_the_corpus_of_sick_images_fails_as_it_says(tmp_path: Path, seed: int):
    expected = write_sick_images(tmp_path, 4 * len(SICK_KINDS), seed)
    found = {}
    for key in expected:
        try:
            decode_image(read_bytes(str(tmp_path / key)), name=key)
        except ImageFailure as failure:
            assert key in str(failure)
            found[key] = failure.code
    assert found == expected


def test_every_code_of_a_picture_is_in_the_corpus():
    assert {code for _, code, _ in SICK_KINDS} == {
        ErrorCode.EMPTY_FILE,
        ErrorCode.TRUNCATED,
        ErrorCode.NOT_AN_IMAGE,
        ErrorCode.TOO_MANY_PIXELS,
        ErrorCode.CORRUPT,
        ErrorCode.VANISHED,
    }
