"""Pictures that differ, and copies of them as people make them."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


def scene(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Soft ground and a few things on it; another seed, another picture."""
    rng = np.random.default_rng(seed)
    ground = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8)).resize(size)
    draw = ImageDraw.Draw(ground)
    for _ in range(6):
        x, y = rng.integers(0, size[0]), rng.integers(0, size[1])
        wide, high = rng.integers(10, 60, 2)
        draw.ellipse((x, y, x + wide, y + high), tuple(rng.integers(0, 256, 3).tolist()))
    return ground.filter(ImageFilter.GaussianBlur(1))


def encoded(picture: Image.Image, kind: str = "JPEG", **options: int) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def copies(picture: Image.Image) -> Iterator[tuple[str, bytes]]:
    """(name, file) of the same picture in other qualities, formats and sizes."""
    yield "lossless.png", encoded(picture, "PNG")
    for quality in (90, 50, 30):
        yield f"quality{quality}.jpg", encoded(picture, quality=quality)
    yield "format.webp", encoded(picture, "WEBP", quality=70)
    for scale in (0.5, 0.75, 1.5):
        size = (round(picture.width * scale), round(picture.height * scale))
        yield f"scale{scale}.jpg", encoded(picture.resize(size), quality=80)
