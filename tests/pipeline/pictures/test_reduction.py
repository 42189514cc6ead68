"""JPEGs decoded at a half, a quarter, an eighth: the same picture, in the same place."""

import io

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.pictures.decoding import decode_image
from maskmill.pipeline.views.pictures import needed_size, view_pictures
from maskmill.pipeline.views.plan import ViewSettings, plan_views
from maskmill.pipeline.views.preprocessing import Preprocessing
from maskmill.schemas.errors import ErrorCode, ImageFailure

ORIENTATION = 0x0112
VIEWS = ViewSettings()


def smooth_picture(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Blurred noise of ``size`` (width, height): no two places look alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def to_jpeg(picture: Image.Image, orientation: int = 1, **settings: object) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=92, exif=exif, **settings)
    return stream.getvalue()


def at_least(side: int):
    return lambda size_hw: (side, side)


@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
@pytest.mark.parametrize(("needed", "factor"), [(60, 8), (120, 4), (300, 2), (301, 2), (400, 1)])
def test_pixels_are_the_means_of_what_they_stand_for(settings, needed, factor) -> None:
    picture = smooth_picture((803, 611))
    data = to_jpeg(picture, **settings)
    found = decode_image(data, name="x", needed=at_least(needed))
    assert found.size_hw == (611, 803)
    assert (found.reduction.factor if found.reduction else 1) == factor
    whole = decode_image(data, name="x").pixels
    means = np.asarray(Image.fromarray(whole).reduce(factor)).astype(int)
    assert found.pixels.shape == means.shape  # both round up
    assert np.abs(found.pixels - means).mean() < 1.5


def test_grey_is_reduced_as_colour_is() -> None:
    data = to_jpeg(smooth_picture((800, 600)).convert("L"))
    found = decode_image(data, name="x", needed=at_least(150))
    assert found.pixels.shape == (150, 200, 3)
    assert (found.pixels[:, :, 0] == found.pixels[:, :, 2]).all()


def test_other_formats_and_other_colours_come_whole() -> None:
    for file_format, picture in (
        ("PNG", smooth_picture((400, 300))),
        ("JPEG", smooth_picture((400, 300)).convert("CMYK")),
    ):
        stream = io.BytesIO()
        picture.save(stream, file_format)
        found = decode_image(stream.getvalue(), name="x", needed=at_least(50))
        assert found.reduction is None
        assert found.pixels.shape == (300, 400, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("resize", ["longest_side", "exact", "letterbox"])
def test_the_network_sees_the_same_picture_in_the_same_place(orientation, resize) -> None:
    """Sides that 4 does not divide, whichever way they lie: nothing moves."""
    rule = Preprocessing(resize=resize, size=129, pad=resize == "letterbox")
    data = to_jpeg(smooth_picture((1091, 1087)), orientation)

    def picture_of(needed):
        found = decode_image(data, name="x", needed=needed)
        (shown,) = view_pictures(
            found.pixels,
            plan_views(found.size_hw, VIEWS),
            rule,
            image_size=None,
            alignment="align_corners",
            reduction=found.reduction,
        )
        return found, shown

    found, reduced = picture_of(
        lambda size: needed_size(size, VIEWS, rule, image_size=None, alignment="align_corners")
    )
    _, exact = picture_of(None)
    assert found.reduction.factor == 4
    assert (reduced.rows, reduced.cols) == (exact.rows, exact.cols)
    assert (reduced.network_hw, reduced.place_yx) == (exact.network_hw, exact.place_yx)
    difference = np.abs(reduced.pixels.astype(int) - exact.pixels)
    assert reduced.pixels.shape == exact.pixels.shape
    assert difference.mean() < 1
    moved = np.abs(np.roll(exact.pixels, 1, axis=1).astype(int) - exact.pixels)
    assert difference.mean() < moved.mean() / 4  # a shift of a quarter pixel would be seen


def test_windows_and_larger_scales_ask_for_more() -> None:
    rule = Preprocessing(resize="longest_side", size=513)
    common = {"image_size": None, "alignment": "align_corners"}
    assert needed_size((3000, 4000), VIEWS, rule, **common) == (770, 1026)
    double = ViewSettings(scales=(0.5, 2.0))
    assert needed_size((3000, 4000), double, rule, **common) == (1538, 2050)
    windows = ViewSettings(window=1024)
    assert needed_size((3000, 4000), windows, rule, **common) == (3000, 4000)
    untouched = Preprocessing(resize="none", size=513)
    assert min(needed_size((300, 400), VIEWS, untouched, **common)) >= 300


@pytest.mark.parametrize("settings", [{}, {"progressive": True}], ids=str)
def test_a_cut_file_is_found_although_it_is_read_reduced(settings) -> None:
    data = to_jpeg(smooth_picture((1600, 1200)), **settings)
    half = data[: len(data) // 2]
    for broken in (half, half + b"\xff\xd9"):
        if settings and broken is not half:
            continue  # a shortened progressive file is a complete, coarser picture
        with pytest.raises(ImageFailure) as caught:
            decode_image(broken, name="x", needed=at_least(100))
        assert caught.value.code is ErrorCode.TRUNCATED


def test_a_grey_corner_is_no_cut() -> None:
    pixels = np.array(smooth_picture((800, 600)))
    pixels[-64:, -64:] = 128
    found = decode_image(to_jpeg(Image.fromarray(pixels)), name="x", needed=at_least(100))
    assert found.reduction is not None
