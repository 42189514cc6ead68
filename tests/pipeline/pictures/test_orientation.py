"""One EXIF rule: whoever asks for a picture's size or pixels hears the same, in every format."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from maskmill.pipeline.datasets.picture_sizes import picture_size
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.pipeline.inspect.census import census_of
from maskmill.pipeline.pictures.decoding import decode_image, picture_header
from maskmill.pipeline.pictures.orientation import is_turned, orientation_of
from maskmill.pipeline.pictures.preview import preview_pixels

PHOTO = np.random.default_rng(3).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def turned(file_format: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(PHOTO).save(stream, file_format, exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_everyone_turns_a_picture_alike(file_format: str, tmp_path):
    for orientation in range(1, 9):
        data = turned(file_format, orientation)
        shown = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        size = (shown.height, shown.width)
        assert size == ((56, 40) if is_turned(orientation) else (40, 56))
        with Image.open(io.BytesIO(data)) as opened:
            assert orientation_of(opened, data) == orientation
        header = picture_header(data)
        (tmp_path / "a.bin").write_bytes(data)
        assert (header.height, header.width) == size
        assert picture_size(open_tree(str(tmp_path)), "a.bin") == size
        assert decode_image(data, name="a").pixels.shape[:2] == size
        np.testing.assert_array_equal(preview_pixels(data, name="turned"), np.asarray(shown))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_nonsense_is_no_orientation(value: int):
    data = turned("PNG", value)
    with Image.open(io.BytesIO(data)) as opened:
        assert orientation_of(opened, data) == 1
    assert census_of(data, "a.png").orientation == 1
