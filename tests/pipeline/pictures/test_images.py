"""Decoding: every mode by its written rule, orientation, limits, notes, speed."""

import io
import struct
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from maskmill.pipeline.pictures.decoding import decode_image, picture_header
from maskmill.pipeline.pictures.orientation import orient
from maskmill.schemas.errors import ErrorCode, ImageFailure
from tests.pipeline.pictures.encoded_pictures import PHOTO, encoded
from tests.sick_images import draw_picture, encode


def failure_of(data: bytes, **options) -> ImageFailure:
    with pytest.raises(ImageFailure) as caught:
        decode_image(data, name="photos/x.jpg", **options)
    assert "photos/x.jpg" in str(caught.value)
    return caught.value


# --- the fast path against Pillow ---------------------------------------------------------------


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_equals_pillow(quality, subsampling, progressive):
    data = encode(PHOTO, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
    ours = decode_image(data, name="x")
    theirs = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.abs(ours.pixels.astype(int) - theirs).max() <= 1
    assert (ours.format, ours.mode, ours.exif_orientation, ours.notes) == ("JPEG", "RGB", 1, ())
    assert ours.pixels.flags.c_contiguous


def test_grey_jpeg_has_three_equal_channels():
    grey = Image.fromarray(PHOTO).convert("L")
    ours = decode_image(encoded(grey, "JPEG", quality=95), name="x")
    assert ours.mode == "L"
    assert (ours.pixels == ours.pixels[:, :, :1]).all()
    assert np.abs(ours.pixels[:, :, 0].astype(int) - np.asarray(grey)).max() < 12


def test_rgb_jpeg_without_color_transform():
    data = encode(PHOTO, "JPEG", quality=95, keep_rgb=True)
    theirs = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.abs(decode_image(data, name="x").pixels.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (8, 8), (17, 16), (7, 300)])
def test_small_and_odd_sizes(size):
    picture = draw_picture(np.random.default_rng(3), size)
    for file_format in ("JPEG", "PNG", "BMP", "TIFF"):
        assert decode_image(encode(picture, file_format), name="x").pixels.shape == picture.shape
    np.testing.assert_array_equal(decode_image(encode(picture, "PNG"), name="x").pixels, picture)


def test_a_grey_corner_is_no_truncation():
    """Exactly 128 at the lower right is also what a missing end looks like."""
    picture = PHOTO.copy()
    picture[20:, 20:] = 128
    for progressive in (False, True):
        data = encode(picture, "JPEG", quality=95, progressive=progressive)
        assert (decode_image(data, name="x").pixels[-8:, -8:] == 128).all()


# --- orientation --------------------------------------------------------------------------------

TURNABLE = {"JPEG": {"quality": 95}, "PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", sorted(TURNABLE))
def test_orientation_equals_pillow(file_format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(PHOTO, file_format, exif=exif, **TURNABLE[file_format])
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    ours = decode_image(data, name="x")
    assert ours.exif_orientation == orientation
    assert ours.pixels.flags.c_contiguous
    assert np.abs(ours.pixels.astype(int) - np.asarray(expected)).max() <= 1
    header = picture_header(data)
    assert (header.width, header.height) == expected.size
    assert header.format == file_format


def test_the_eight_orientations_differ():
    """Guards the test above: a picture with symmetries would prove nothing."""
    turned = {orient(PHOTO, orientation).tobytes() for orientation in range(1, 9)}
    assert len(turned) == 8


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_impossible_orientation_counts_as_none(order, value):
    mark = b"II*\0" if order == "<" else b"MM\0*"
    exif = mark + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, value, 0, 0)
    data = encode(PHOTO, "JPEG", exif=b"Exif\0\0" + exif)
    assert decode_image(data, name="x").exif_orientation == 1


@given(exif=st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_exif_block_leaves_the_picture_alone(exif):
    data = encode(PHOTO, "JPEG", exif=b"Exif\0\0II*\0" + exif)
    assert decode_image(data, name="x").exif_orientation in range(1, 9)


def test_orientation_after_the_pixels_of_a_png():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(PHOTO, "PNG", exif=exif)
    start = data.index(b"eXIf") - 4
    end = start + 12 + struct.unpack_from(">I", data, start)[0]
    tail = data.index(b"IEND") - 4
    moved = data[:start] + data[end:tail] + data[start:end] + data[tail:]
    ours = decode_image(moved, name="x")
    assert ours.exif_orientation == 6
    np.testing.assert_array_equal(ours.pixels, np.rot90(PHOTO, -1))
    assert picture_header(moved)[:2] == (43, 61)


# --- frames -------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_the_first_of_several_frames(file_format):
    frames = [Image.fromarray(np.full((20, 30, 3), value, np.uint8)) for value in (200, 90, 10)]
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    ours = decode_image(data, name="x")
    assert ours.notes == ("first of 3 frames",)
    assert np.abs(ours.pixels.astype(int) - 200).max() <= 2
    assert ours.format == file_format


# --- limits and failures ------------------------------------------------------------------------


def test_pixels_are_counted_before_decoding():
    header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    data = bytearray(encode(PHOTO, "PNG"))
    data[16:29] = header
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        failure = failure_of(_with_crc(bytes(data)))
    assert failure.code is ErrorCode.TOO_MANY_PIXELS
    assert "40,000,000,000" in str(failure)


def _with_crc(data: bytes) -> bytes:
    import zlib

    return data[:29] + struct.pack(">I", zlib.crc32(data[12:29])) + data[33:]


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_the_limit_is_inclusive(file_format):
    data = encode(PHOTO, file_format)
    assert decode_image(data, name="x", max_pixels=61 * 43).pixels.shape == (43, 61, 3)
    assert failure_of(data, max_pixels=61 * 43 - 1).code is ErrorCode.TOO_MANY_PIXELS


def test_pillows_own_limit_neither_warns_nor_stays_changed(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for file_format in ("JPEG", "PNG", "GIF", "WEBP", "TIFF"):
            decode_image(encode(PHOTO, file_format), name="x")
    assert Image.MAX_IMAGE_PIXELS == 100


def test_threads_decode_alike():
    data = [encode(PHOTO, file_format) for file_format in ("PNG", "TIFF", "GIF", "JPEG") * 8]
    expected = [decode_image(item, name="x").pixels for item in data]
    results: list[np.ndarray | None] = [None] * len(data)

    def work(start: int) -> None:
        for index in range(start, len(data), 4):
            results[index] = decode_image(data[index], name="x").pixels

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for found, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_an_empty_file():
    failure = failure_of(b"")
    assert failure.code is ErrorCode.EMPTY_FILE


@pytest.mark.parametrize("data", [b"hello", b"%PDF-1.7", b"%!PS-Adobe-3.0 EPSF-3.0\n", bytes(50)])
def test_not_an_image(data):
    """PostScript too: Pillow would start Ghostscript for it."""
    assert failure_of(data).code is ErrorCode.NOT_AN_IMAGE


def test_memory_exhaustion_after_decoding_is_named(monkeypatch):
    def exhausted(*_args):
        raise MemoryError

    monkeypatch.setattr("maskmill.pipeline.pictures.decoding.array_to_rgb", exhausted)
    assert failure_of(encode(PHOTO, "PNG")).code is ErrorCode.OUT_OF_MEMORY


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
def test_memory_exhaustion_is_named(monkeypatch, error):
    def exhausted(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("maskmill.pipeline.pictures.decoding.jpeg_to_rgb", exhausted)
    assert failure_of(encode(PHOTO, "JPEG")).code is ErrorCode.OUT_OF_MEMORY


def test_a_jpeg_with_an_end_put_on_too_early():
    data = encode(PHOTO, "JPEG", quality=95)
    assert failure_of(data[:-900] + b"\xff\xd9").code is ErrorCode.TRUNCATED


def test_a_failure_survives_the_way_between_processes():
    import pickle

    failure = failure_of(b"hello")
    copy = pickle.loads(pickle.dumps(failure))
    assert (copy.code, str(copy)) == (failure.code, str(failure))


# --- real pictures, speed -----------------------------------------------------------------------


def test_real_pictures_equal_pillow(shared: Path):
    pictures = sorted((shared / "data").rglob("*.jpg"))
    assert pictures
    for path in pictures[:12]:
        data = path.read_bytes()
        theirs = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        ours = decode_image(data, name=path.name).pixels.astype(int)
        assert np.abs(ours - np.asarray(theirs)).max() <= 2, path


def test_the_way_around_the_decoder_is_short():
    """Header, orientation and limits add less than a fifth to the bare decoding of 640 x 480."""
    import torch
    from torchvision.io import ImageReadMode

    picture = draw_picture(np.random.default_rng(1), (640, 480))
    data = encode(picture, "JPEG", quality=90)
    encoded_tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8)

    def seconds(function) -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    def decode_bare() -> None:
        torch.ops.image.decode_jpeg(encoded_tensor, ImageReadMode.RGB.value)

    # In turns, and the best of many: other processes share the machine.
    pairs = [
        (seconds(decode_bare), seconds(lambda: decode_image(data, name="x"))) for _ in range(40)
    ]
    bare, whole = (min(times) for times in zip(*pairs, strict=True))
    assert whole < 1.2 * bare + 0.0002, (whole, bare)
