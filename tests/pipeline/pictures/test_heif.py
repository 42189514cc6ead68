"""HEIC and HEIF, as phones write them, made by pillow-heif."""

import io

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageOps

from maskmill.pipeline.pictures.decoding import decode_image, picture_header
from maskmill.pipeline.sources.registry import list_source
from maskmill.schemas.errors import ErrorCode, ImageFailure
from tests.pipeline.pictures.test_reduction import ORIENTATION, smooth_picture
from tests.thorough import sampled


def to_heic(*pictures: Image.Image, exif: bytes | None = None, **settings: object) -> bytes:
    file = pillow_heif.HeifFile()
    for picture in pictures:
        file.add_from_pillow(picture)
    if exif:
        file.info["exif"] = exif
        file[0].info["exif"] = exif
    stream = io.BytesIO()
    file.save(stream, quality=95, **settings)
    return stream.getvalue()


@pytest.mark.parametrize("orientation", sampled(range(1, 9), 3))
def test_it_is_turned_as_it_is_shown(orientation) -> None:
    picture = smooth_picture((384, 256))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stream = io.BytesIO()
    pillow_heif.register_heif_opener(thumbnails=False)
    picture.save(stream, "HEIF", quality=95, exif=exif.tobytes())
    data = stream.getvalue()
    picture.getexif()[ORIENTATION] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture)).astype(int)
    found = decode_image(data, name="x")
    assert found.format == "HEIF"
    assert found.pixels.shape == expected.shape
    assert np.abs(found.pixels - expected).mean() < 6
    header = picture_header(data)
    assert (header.height, header.width) == expected.shape[:2]


def test_transparency_lies_over_white_and_the_main_picture_is_taken() -> None:
    clear = smooth_picture((64, 48)).convert("RGBA")
    clear.putalpha(0)
    assert (decode_image(to_heic(clear), name="x").pixels >= 250).all()
    several = decode_image(to_heic(smooth_picture((64, 48)), smooth_picture((64, 48), 1)), name="x")
    assert several.notes == ("main one of 2 frames",)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95])
def test_a_cut_one_fails_by_its_kind(share) -> None:
    data = to_heic(smooth_picture((256, 192)))
    with pytest.raises(ImageFailure) as caught:
        decode_image(data[: int(len(data) * share)], name="cut.heic")
    assert caught.value.code in (ErrorCode.TRUNCATED, ErrorCode.NOT_AN_IMAGE, ErrorCode.CORRUPT)
    assert "cut.heic" in str(caught.value)


def test_its_header_is_looked_at_before_anything_is_decoded() -> None:
    with pytest.raises(ImageFailure) as caught:
        decode_image(to_heic(smooth_picture((640, 480))), name="x", max_pixels=1000)
    assert caught.value.code is ErrorCode.TOO_MANY_PIXELS


def test_folders_take_it(tmp_path) -> None:
    for name in ("a.HEIC", "b.heif", "c.hif"):
        (tmp_path / name).write_bytes(to_heic(smooth_picture((64, 48))))
    assert [entry.key for entry in list_source(str(tmp_path)).entries] == [
        "a.HEIC",
        "b.heif",
        "c.hif",
    ]
