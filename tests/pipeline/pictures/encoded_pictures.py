"""A small picture, encoded any way, and what our decoder makes of it."""

import io

import numpy as np
from PIL import Image

from maskmill.pipeline.pictures.decoding import decode_image
from tests.sick_images import draw_picture

RNG = np.random.default_rng(7)
PHOTO = draw_picture(RNG, (61, 43))


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def pixels_of(image: Image.Image, file_format: str = "PNG", **options) -> np.ndarray:
    return decode_image(encoded(image, file_format, **options), name="x").pixels
