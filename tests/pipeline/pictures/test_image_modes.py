"""Every picture mode becomes RGB by its written rule."""

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.pictures.decoding import decode_image
from tests.pipeline.pictures.encoded_pictures import PHOTO, RNG, encoded, pixels_of


def test_one_bit():
    bits = Image.fromarray(PHOTO).convert("1")
    np.testing.assert_array_equal(
        pixels_of(bits), np.asarray(bits)[:, :, None].repeat(3, 2) * np.uint8(255)
    )


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "GIF", "PPM"])
def test_grey(file_format):
    grey = Image.fromarray(PHOTO[:, :, 0])
    np.testing.assert_array_equal(pixels_of(grey, file_format), PHOTO[:, :, :1].repeat(3, 2))


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "GIF"])
def test_palette(file_format):
    palette = Image.fromarray(PHOTO).quantize(16)
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(pixels_of(palette, file_format), expected)


def over_white(rgba: np.ndarray) -> np.ndarray:
    """The oracle in exact integers: round half up of c a/255 + 255 (1 - a/255)."""
    color, alpha = rgba[:, :, :3].astype(int), rgba[:, :, 3:].astype(int)
    return ((2 * (color * alpha + 255 * (255 - alpha)) + 255) // 510).astype(np.uint8)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_alpha_over_white(file_format):
    rgba = RNG.integers(0, 256, (40, 50, 4), dtype=np.uint8)
    rgba[:5, :, 3], rgba[5:10, :, 3] = 0, 255
    data = encoded(Image.fromarray(rgba), file_format)
    ours = decode_image(data, name="x")
    np.testing.assert_array_equal(ours.pixels, over_white(rgba))
    assert (ours.pixels[:5] == 255).all()
    np.testing.assert_array_equal(ours.pixels[5:10], rgba[5:10, :, :3])
    assert ours.notes == ("transparency over white",)


def test_every_color_and_alpha_over_white():
    color, alpha = np.mgrid[0:256, 0:256].astype(np.uint8)
    rgba = np.stack([color, color, color, alpha], axis=2)
    np.testing.assert_array_equal(pixels_of(Image.fromarray(rgba)), over_white(rgba))


def test_opaque_alpha_is_no_note():
    rgba = np.dstack([PHOTO, np.full(PHOTO.shape[:2], 255, np.uint8)])
    ours = decode_image(encoded(Image.fromarray(rgba), "PNG"), name="x")
    assert ours.notes == ()
    np.testing.assert_array_equal(ours.pixels, PHOTO)


def test_grey_with_alpha():
    both = Image.fromarray(PHOTO[:, :, :2].copy(), "LA")
    rgba = np.dstack([PHOTO[:, :, [0, 0, 0]], PHOTO[:, :, 1]])
    np.testing.assert_array_equal(pixels_of(both), over_white(rgba))


@pytest.mark.parametrize("transparency", [3, bytes(range(0, 256, 16))])
def test_palette_with_transparency(transparency):
    palette = Image.fromarray(PHOTO).quantize(16)
    indices = np.asarray(palette)
    alpha = np.full(256, 255, np.uint8)
    if isinstance(transparency, int):
        alpha[transparency] = 0
    else:
        alpha[:16] = np.frombuffer(transparency, np.uint8)
    rgba = np.dstack([np.asarray(palette.convert("RGB")), alpha[indices]])
    data = encoded(palette, "PNG", transparency=transparency)
    np.testing.assert_array_equal(decode_image(data, name="x").pixels, over_white(rgba))


def test_one_transparent_color():
    picture = PHOTO.copy()
    picture[:10] = (12, 34, 56)
    ours = pixels_of(Image.fromarray(picture), transparency=(12, 34, 56))
    assert (ours[:10] == 255).all()
    np.testing.assert_array_equal(ours[10:], PHOTO[10:])


def test_transparent_gif():
    palette = Image.fromarray(PHOTO).quantize(8)
    ours = pixels_of(palette, "GIF", transparency=2)
    assert (ours[np.asarray(palette) == 2] == 255).all()


def test_cmyk_tiff_by_the_written_formula():
    inks = RNG.integers(0, 256, (30, 40, 4), dtype=np.uint8)
    exact = (255.0 - inks[:, :, :3]) * (255.0 - inks[:, :, 3:]) / 255.0
    ours = pixels_of(Image.fromarray(inks, "CMYK"), "TIFF")
    assert np.abs(ours - exact).max() <= 1.0


def test_cmyk_jpeg_adobe_inks_are_turned_round():
    """Pillow writes CMYK JPEG as Adobe does: inverted. The picture must come out as it went in."""
    cmyk = Image.fromarray(PHOTO).convert("CMYK")
    data = encoded(cmyk, "JPEG", quality=95, subsampling=0)
    assert b"Adobe" in data
    ours = decode_image(data, name="x")
    assert ours.mode == "CMYK"
    assert ours.notes == ("CMYK converted to RGB",)
    assert np.abs(ours.pixels.astype(int) - PHOTO).mean() < 3


@pytest.mark.parametrize("mode", ["YCbCr", "LAB"])
def test_other_color_spaces_of_tiff(mode):
    if mode == "LAB":
        from PIL import ImageCms

        to_lab = ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
        )
        image = ImageCms.applyTransform(Image.fromarray(PHOTO), to_lab)
    else:
        image = Image.fromarray(PHOTO).convert(mode)
    ours = decode_image(encoded(image, "TIFF"), name="x")
    assert ours.mode == mode
    assert np.abs(ours.pixels.astype(int) - PHOTO).mean() < 3


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_takes_the_high_byte(file_format):
    values = RNG.integers(0, 65536, (20, 30), dtype=np.uint16)
    values[0, :3] = (0, 255, 65535)
    ours = decode_image(encoded(Image.fromarray(values), file_format), name="x")
    np.testing.assert_array_equal(ours.pixels, (values >> 8)[:, :, None].repeat(3, 2))
    assert ours.notes == ("16 bits to 8 by the high byte of 16; largest value 65535",)


def test_big_endian_sixteen_bit_tiff():
    values = RNG.integers(0, 65536, (20, 30), dtype=np.uint16)
    data = encoded(Image.fromarray(values.astype(">u2")), "TIFF")
    assert decode_image(data, name="x").mode == "I;16B"
    np.testing.assert_array_equal(decode_image(data, name="x").pixels[:, :, 0], values >> 8)


def test_sixteen_bit_color_png_takes_the_high_byte():
    import cv2

    values = RNG.integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    data = cv2.imencode(".png", values[:, :, ::-1])[1].tobytes()
    ours = decode_image(data, name="x")
    np.testing.assert_array_equal(ours.pixels, values >> 8)


def test_integers_of_32_bits_are_clipped():
    values = np.array([[-5, 0, 255, 256, 65535, 70000]], dtype=np.int32)
    ours = pixels_of(Image.fromarray(values), "TIFF")
    assert ours[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255]


@pytest.mark.parametrize(
    ("values", "expected", "note"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255], "floats of [0, 1] times 255"),
        ([0.0, 1.5, 255.0], [0, 2, 255], "floats of [0, 255] rounded"),
        ([-10.0, 0.0, 10.0], [0, 128, 255], "floats -10..10 onto 0..255"),
        ([np.nan, 0.0, 1.0], [0, 0, 255], "floats of [0, 1] times 255"),
        ([np.inf, -1.0, 4.0], [0, 0, 255], "floats -1..4 onto 0..255"),
        ([np.nan, np.nan, np.nan], [0, 0, 0], "floats of [0, 1] times 255"),
        ([-3.0, -3.0, -3.0], [0, 0, 0], "floats -3..-3 onto 0..255"),
    ],
)
def test_floats(values, expected, note):
    ours = decode_image(encoded(Image.fromarray(np.float32([values])), "TIFF"), name="x")
    assert ours.pixels[0, :, 0].tolist() == expected
    assert ours.notes == (note,)
