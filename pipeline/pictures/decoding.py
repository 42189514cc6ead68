"""Bytes of one picture file to RGB pixels, or one typed failure.

How each kind of pixel becomes RGB, 8 bits per channel, is written in ``pipeline/pictures/modes.py``
and docs/sources.md. Several frames or pages: the first. Colour profiles are not applied: the
networks were trained without. EXIF orientation is applied; XMP is not asked.

JPEG with one or three components goes through torchvision (libjpeg-turbo), all else through Pillow.
"""

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError

from maskmill.pipeline.pictures.jpeg import jpeg_to_rgb
from maskmill.pipeline.pictures.markers import ends_early, has_known_magic, jpeg_end
from maskmill.pipeline.pictures.modes import array_to_rgb
from maskmill.pipeline.pictures.orientation import orientation_of, shown_size, upright
from maskmill.schemas.arrays import RgbImage
from maskmill.schemas.errors import ErrorCode, ImageFailure

MAX_PIXELS: Final = 128_000_000
"""Default limit of width x height, looked at in the header before anything is decoded."""

FORMATS: Final = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "AVIF")
"""What is opened. Pillow's other readers run programs (EPS) or accept any bytes (TGA)."""

_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_WIDE = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_JPEG_LIKE = ("JPEG", "MPO")
_GREY = 128  # what libjpeg paints where the data ended
_BAND = 64  # columns copied at a time when a picture is turned: fits the cache
_PLACE_IN_SOURCE = re.compile(r"^.*\.cpp:\d+, ")  # torch says where in its own code it failed
_pillow_settings = threading.Lock()


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """One picture. ``pixels`` is contiguous, orientation applied."""

    pixels: RgbImage  # (H, W, 3) uint8
    format: str  # Pillow's name: JPEG, PNG, MPO, …
    mode: str  # Pillow's mode of the file, before conversion
    exif_orientation: int  # 1..8; 1 where there is none
    notes: tuple[str, ...]  # what was decided on the way: "first of 12 frames"


class PictureHeader(NamedTuple):
    """What the header says. ``width`` and ``height`` in pixels after EXIF orientation."""

    width: int
    height: int
    format: str
    mode: str


def decode_image(data: bytes, *, name: str, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """RGB pixels of an encoded picture.

    Args:
        data: the whole file.
        name: what messages call it.
        max_pixels: most pixels that the header may announce.

    Raises:
        ImageFailure: EMPTY_FILE, NOT_AN_IMAGE, TRUNCATED, CORRUPT, TOO_MANY_PIXELS, OUT_OF_MEMORY.
    """
    try:
        return _decode(data, name, max_pixels)
    except MemoryError as error:
        raise ImageFailure(
            ErrorCode.OUT_OF_MEMORY,
            f"{name}: no memory to decode it; lower --workers, or --max-pixels to leave it out",
        ) from error


def pillow_to_rgb(image: Image.Image) -> RgbImage:
    """RGB pixels of an opened Pillow picture by the rules of files, EXIF orientation applied.

    Raises:
        ImageFailure: TRUNCATED or CORRUPT, where Pillow cannot load it.
    """
    with _typed_failures(b"", "the picture"):
        image.load()
        array = _to_array(image)
        orientation = orientation_of(image)
    pixels, _ = array_to_rgb(array, image.mode, image.info.get("transparency"))
    return _contiguous(upright(pixels, orientation, image.format))


def picture_header(data: bytes, *, name: str = "the picture") -> PictureHeader:
    """Size, format and mode of an encoded picture, without decoding it.

    Raises:
        ImageFailure: EMPTY_FILE, NOT_AN_IMAGE, TRUNCATED or CORRUPT.
    """
    with _open(data, name) as image:
        width, height = shown_size(image, orientation_of(image, data))
        return PictureHeader(width, height, str(image.format), image.mode)


def _decode(data: bytes, name: str, max_pixels: int) -> DecodedImage:
    with _open(data, name) as image:
        _refuse_size(image.size, name, max_pixels)
        file_format, mode = str(image.format), image.mode
        orientation = orientation_of(image, data)
        if file_format in _JPEG_LIKE and mode in ("L", "RGB"):
            pixels, note = _decode_jpeg(data, name), ""
        else:
            pixels, note = _decode_by_pillow(image, data, name)
        notes = tuple(text for text in (note, _frame_note(image)) if text)
    turned = upright(pixels, orientation, file_format)
    return DecodedImage(_contiguous(turned), file_format, mode, orientation, notes)


def _contiguous(pixels: RgbImage) -> RgbImage:
    """The pixels in row order. Bands of one channel copy four times faster than numpy's own way."""
    if pixels.strides[1] in (3, -3):
        return np.ascontiguousarray(pixels)
    ordered = np.empty(pixels.shape, np.uint8)
    for start in range(0, pixels.shape[1], _BAND):
        for channel in range(3):
            band = np.s_[:, start : start + _BAND, channel]
            ordered[band] = pixels[band]
    return ordered


def _open(data: bytes, name: str) -> Image.Image:
    """The picture with its header read and nothing decoded."""
    if not data:
        raise ImageFailure(ErrorCode.EMPTY_FILE, f"{name} has no bytes; fetch or copy it again")
    with _typed_failures(data, name), _pillow_quiet():
        return Image.open(io.BytesIO(data), formats=_formats())


def _decode_jpeg(data: bytes, name: str) -> RgbImage:
    with _typed_failures(data, name):
        pixels = jpeg_to_rgb(data)
        if (pixels[-8:, -8:] == _GREY).all() and _is_cut(data, pixels):
            raise ImageFailure(
                ErrorCode.TRUNCATED,
                f"{name}: the lower part of the JPEG is missing though it has an end marker; "
                "fetch or copy it again",
            )
    return pixels


def _is_cut(data: bytes, pixels: RgbImage) -> bool:
    """True where an end marker comes before all blocks were decoded.

    Bytes put before the end marker are passed over by the decoder when it has all blocks, and
    read as more blocks when it has not.
    """
    end = jpeg_end(data)
    if end is None:
        return True
    filled = data[:end] + bytes(range(1, 255)) * 8 + data[end:]
    return not np.array_equal(jpeg_to_rgb(filled), pixels)


def _decode_by_pillow(image: Image.Image, data: bytes, name: str) -> tuple[RgbImage, str]:
    image.info.pop("xmp", None)  # Pillow would turn a TIFF by it
    mode = image.mode
    # While it loads these, Pillow warns and looks at its own limit again.
    settings = _pillow_quiet() if image.format in ("TIFF", "GIF") else nullcontext()
    with _typed_failures(data, name), settings:
        image.load()
        array = _to_array(image)
    return array_to_rgb(array, mode, image.info.get("transparency"))


def _to_array(image: Image.Image) -> npt.NDArray[np.generic]:
    """Pixels of a loaded picture as (H, W, 3), (H, W, 4) with alpha, or (H, W) of wide values."""
    if image.mode in _WIDE:
        return np.array(image)
    if image.mode == "LAB":
        return np.array(_lab_to_rgb(image))
    if image.mode == "La":  # Pillow knows no way from La to RGBA
        image = image.convert("LA")
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        return np.array(image.convert("RGBA"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
    )
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        raise ValueError("LAB cannot be converted to RGB")
    return converted


def _frame_note(image: Image.Image) -> str:
    try:
        with _pillow_quiet():
            frames = int(getattr(image, "n_frames", 1))
    except Exception:  # the first frame is good; the others are not asked for
        return "first frame; the others cannot be counted"
    return f"first of {frames} frames" if frames > 1 else ""


def _refuse_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageFailure(
            ErrorCode.TOO_MANY_PIXELS,
            f"{name}: {width} x {height} = {width * height:,} pixels, more than {max_pixels:,}; "
            "raise --max-pixels if the file is to be trusted",
        )
    if width < 1 or height < 1:
        raise ImageFailure(ErrorCode.CORRUPT, f"{name}: {width} x {height} is no size of a picture")


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def _pillow_quiet() -> Iterator[None]:
    """No warnings, and no limit but our own. Both are settings of the process, hence the lock."""
    with _pillow_settings, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def _typed_failures(data: bytes, name: str) -> Iterator[None]:
    """Whatever a decoder raises becomes one ImageFailure. Only calls of decoders stand inside."""
    try:
        yield
    except (ImageFailure, MemoryError):
        raise
    except UnidentifiedImageError as error:
        if not has_known_magic(data):
            raise ImageFailure(
                ErrorCode.NOT_AN_IMAGE,
                f"{name} is not a picture that can be read (starts with {data[:8]!r}); "
                f"formats: {', '.join(FORMATS)}",
            ) from error
        raise _broken(data, name, "the header cannot be read") from error
    except Exception as error:  # a decoder fed with damaged bytes may raise anything
        if "allocate memory" in str(error):
            raise MemoryError from error
        reason = next(iter(str(error).splitlines()), repr(error))
        raise _broken(data, name, _PLACE_IN_SOURCE.sub("", reason)) from error


def _broken(data: bytes, name: str, reason: str) -> ImageFailure:
    if ends_early(data) or "truncated" in reason.lower():
        return ImageFailure(
            ErrorCode.TRUNCATED,
            f"{name} ends early, at {len(data):,} bytes; fetch or copy it again ({reason})",
        )
    return ImageFailure(ErrorCode.CORRUPT, f"{name} is damaged: {reason}; fetch or copy it again")
