"""A picture to be looked at, small or whole, by Pillow alone: who shows pictures has no torch."""

import io
import warnings
from typing import Final

import numpy as np
from PIL import Image

from maskmill.pipeline.pictures.decoding import FORMATS, MAX_PIXELS, decode_image
from maskmill.pipeline.pictures.orientation import orientation_of, upright
from maskmill.schemas.arrays import RgbImage
from maskmill.schemas.errors import ErrorCode, ImageFailure

_PLAIN_JPEG: Final = ("L", "RGB")
JPEG_QUALITY: Final = 82


def preview_pixels(
    data: bytes, *, name: str, side: int | None = None, max_pixels: int = MAX_PIXELS
) -> RgbImage:
    """(H, W, 3) of an encoded picture as it is shown, EXIF orientation applied.

    Args:
        data: the whole file.
        name: what messages call it.
        side: the longest side that is needed; a JPEG then comes at an eighth, a quarter or half of
            its size where that suffices, which is several times quicker. None: whole.
        max_pixels: most pixels that the header may announce.

    Raises:
        ImageFailure: as :func:`decode_image`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened = Image.open(io.BytesIO(data), formats=FORMATS)
        is_plain = opened.format in ("JPEG", "MPO") and opened.mode in _PLAIN_JPEG
    except Exception:  # what is wrong is said by the decoder of all other places
        is_plain = False
    if not is_plain or opened.width * opened.height > max_pixels:
        return decode_image(data, name=name, max_pixels=max_pixels).pixels
    if side is not None:
        scale = min(1.0, side / max(opened.size))
        opened.draft(opened.mode, (round(opened.width * scale), round(opened.height * scale)))
    try:
        pixels = np.asarray(opened.convert("RGB"))
    except Exception as error:  # Pillow's readers raise many kinds on damaged bytes
        raise ImageFailure(ErrorCode.CORRUPT, f"{name} cannot be decoded: {error}") from error
    return np.ascontiguousarray(upright(pixels, orientation_of(opened, data), opened.format))


def fitted(pixels: RgbImage, size_hw: tuple[int, int]) -> RgbImage:
    """The picture at another size, each new pixel the mean of those it covers."""
    if pixels.shape[:2] == size_hw:
        return pixels
    is_smaller = size_hw[0] * size_hw[1] < pixels.shape[0] * pixels.shape[1]
    how = Image.Resampling.BOX if is_smaller else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(pixels).resize((size_hw[1], size_hw[0]), how))


def jpeg_bytes(pixels: RgbImage, quality: int = JPEG_QUALITY) -> bytes:
    """A JPEG of an (H, W, 3) picture."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()
