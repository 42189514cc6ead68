"""Writes folders of small pictures, sound ones and sick ones, for tests of whole runs."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from maskmill.schemas.errors import ErrorCode

Bytes = Callable[[np.random.Generator], bytes]


def draw_picture(rng: np.random.Generator, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 of a sky, a ground and three blobs; ``size`` is (width, height)."""
    width, height = size
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    picture = rng.integers(40, 200, 3) + (rows / height * 60)[:, :, None]
    for _ in range(3):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        radius = rng.uniform(0.1, 0.35) * min(size)
        inside = (columns - x) ** 2 + ((rows - y) * rng.uniform(0.6, 1.6)) ** 2 < radius**2
        picture[inside] = rng.integers(0, 256, 3)
    noise = rng.normal(0, 6, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def encode(pixels: npt.NDArray[np.uint8], file_format: str, **settings: object) -> bytes:
    """An encoded picture by Pillow."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, file_format, **settings)
    return stream.getvalue()


def write_small_pictures(
    folder: Path, count: int, seed: int, size: tuple[int, int] = (96, 72)
) -> list[str]:
    """``count`` sound pictures of varied sizes up to ``size``; their keys, sorted.

    Two of three are JPEG, the others PNG; in the folder itself, in one below, and in one deeper.
    """
    rng = np.random.default_rng(seed)
    keys = []
    for number in range(count):
        below = ("", "street/", "street/night 1/")[number % 3]
        extension = ("jpg", "png", "jpg", "jpeg", "PNG", "jpg")[number % 6]
        key = f"{below}photo_{number:05d}.{extension}"
        # Four sizes, so that pictures of one shape can be batched.
        shrink = (0, 0, 8, 16)[int(rng.integers(4))]
        pixels = draw_picture(rng, (size[0] - shrink, size[1] - shrink // 2))
        is_png = extension.lower() == "png"
        data = encode(pixels, "PNG") if is_png else encode(pixels, "JPEG", quality=88)
        _write(folder / key, data)
        keys.append(key)
    return sorted(keys)


def write_sick_images(folder: Path, count: int, seed: int) -> dict[str, ErrorCode]:
    """``count`` files that must fail: relative key -> the code each must fail with.

    The kinds take turns; every eighth or so lies in a folder ``sick``. The one kind that is no
    file of its own is a broken link: listed, and vanished when it is read.
    """
    rng = np.random.default_rng(seed)
    expected = {}
    for number in range(count):
        name, code, make = SICK_KINDS[number % len(SICK_KINDS)]
        key = f"{'sick/' if number % 8 == 7 else ''}bad_{number:04d}_{name}"
        if make is None:
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).symlink_to(f"gone_{number}.jpg")
        else:
            _write(folder / key, make(rng))
        expected[key] = code
    return expected


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _sound(rng: np.random.Generator, file_format: str, **settings: object) -> bytes:
    return encode(draw_picture(rng, (64, 48)), file_format, **settings)


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(len(data) * rng.uniform(0.3, 0.9))]


def _early_end(rng: np.random.Generator) -> bytes:
    data = _sound(rng, "JPEG", quality=95)
    return data[: len(data) // 2 + 200] + b"\xff\xd9"


def _huge_png(rng: np.random.Generator) -> bytes:
    """The header of a 60,000 x 60,000 picture, and few bytes behind it."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(4096))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    )


def _huge_jpeg(rng: np.random.Generator) -> bytes:
    """A small JPEG whose frame header claims 65,000 x 65,000."""
    data = bytearray(_sound(rng, "JPEG"))
    frame = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, frame + 5, 65_000, 65_000)
    return bytes(data)


def _damaged_png(rng: np.random.Generator) -> bytes:
    """One byte of the compressed pixels turned over: the checksum no longer fits."""
    data = bytearray(_sound(rng, "PNG"))
    data[data.index(b"IDAT") + 40] ^= 0xFF
    return bytes(data)


def _html(rng: np.random.Generator) -> bytes:
    return b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>\n"


def _pdf(rng: np.random.Generator) -> bytes:
    return b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + rng.bytes(300)


SICK_KINDS: tuple[tuple[str, ErrorCode, Bytes | None], ...] = (
    ("empty.jpg", ErrorCode.EMPTY_FILE, lambda rng: b""),
    ("cut.jpg", ErrorCode.TRUNCATED, lambda rng: _cut(_sound(rng, "JPEG"), rng)),
    ("web_page.jpg", ErrorCode.NOT_AN_IMAGE, _html),
    ("cut.png", ErrorCode.TRUNCATED, lambda rng: _cut(_sound(rng, "PNG"), rng)),
    ("huge.png", ErrorCode.TOO_MANY_PIXELS, _huge_png),
    ("damaged.png", ErrorCode.CORRUPT, _damaged_png),
    ("link.jpg", ErrorCode.VANISHED, None),
    ("noise.webp", ErrorCode.NOT_AN_IMAGE, lambda rng: b"\x01" + rng.bytes(500)),
    ("early_end.jpg", ErrorCode.TRUNCATED, _early_end),
    ("zeros.png", ErrorCode.NOT_AN_IMAGE, lambda rng: bytes(2000)),
    ("cut.webp", ErrorCode.TRUNCATED, lambda rng: _cut(_sound(rng, "WEBP"), rng)),
    ("huge.jpg", ErrorCode.TOO_MANY_PIXELS, _huge_jpeg),
    ("cut.bmp", ErrorCode.TRUNCATED, lambda rng: _cut(_sound(rng, "BMP"), rng)),
    ("cut.gif", ErrorCode.TRUNCATED, lambda rng: _cut(_sound(rng, "GIF"), rng)),
    ("header_only.jpg", ErrorCode.TRUNCATED, lambda rng: _sound(rng, "JPEG")[:40]),
    ("paper.jpg", ErrorCode.NOT_AN_IMAGE, _pdf),
)
"""(name, expected code, how to make the bytes; None is a link to nowhere)."""
