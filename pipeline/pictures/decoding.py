"""Bytes of one picture file to RGB pixels, or one typed failure.

How each kind of pixel becomes RGB, 8 bits per channel, is written in ``pipeline/pictures/modes.py``
and docs/sources.md. Several frames or pages: the first. Colour profiles are not applied: the
networks were trained without. EXIF orientation is applied; XMP is not asked.

JPEG with one or three components goes through torchvision (libjpeg-turbo), all else through Pillow.
Where fewer pixels are needed than a JPEG has, Pillow decodes it at 1/2, 1/4 or 1/8 (``reduction``).
HEIC and HEIF, which turn themselves, are read by pillow-heif.
"""

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import pillow_heif
from PIL import Image, UnidentifiedImageError

from maskmill.pipeline.pictures.jpeg import jpeg_to_rgb
from maskmill.pipeline.pictures.markers import ends_early, has_known_magic, jpeg_end
from maskmill.pipeline.pictures.modes import array_to_rgb
from maskmill.pipeline.pictures.orientation import orient, orientation_of, shown_size, upright
from maskmill.pipeline.pictures.pillow_arrays import image_to_array
from maskmill.pipeline.pictures.reduction import Needed, Reduction, decode_reduced, reduction_for
from maskmill.schemas.arrays import RgbImage
from maskmill.schemas.errors import ErrorCode, ImageFailure

PillowImage: TypeAlias = Image.Image
"""For those who take such pictures and know nothing else of Pillow."""

MAX_PIXELS: Final = 128_000_000
"""Default limit of width x height, looked at in the header before anything is decoded."""

FORMATS: Final = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "AVIF",
                  "HEIF")  # fmt: skip
"""What is opened. Pillow's other readers run programs (EPS) or accept any bytes (TGA)."""

_JPEG_LIKE = ("JPEG", "MPO")
_GREY = 128  # what libjpeg paints where the data ended
_BAND = 64  # columns copied at a time when a picture is turned: fits the cache
_PLACE_IN_SOURCE = re.compile(r"^.*\.cpp:\d+, ")  # torch says where in its own code it failed
_pillow_settings = threading.Lock()


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """One picture. ``pixels`` is contiguous; orientation applied, unless it is a reduced one."""

    pixels: RgbImage  # (H, W, 3) uint8
    format: str  # Pillow's name: JPEG, PNG, MPO, …
    mode: str  # Pillow's mode of the file, before conversion
    exif_orientation: int  # 1..8; 1 where there is none
    notes: tuple[str, ...]  # what was decided on the way: "first of 12 frames"
    reduction: Reduction | None = None  # what ``pixels`` are of the picture; None: all of it

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the whole picture as it is shown."""
        if self.reduction is not None:
            return self.reduction.shown_hw
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def upright(self) -> RgbImage:
        """The pixels turned as they are to be shown, fewer than the picture has where reduced."""
        if self.reduction is None:
            return self.pixels
        return _contiguous(orient(self.pixels, self.reduction.orientation))


class PictureHeader(NamedTuple):
    """What the header says. ``width`` and ``height`` in pixels after EXIF orientation."""

    width: int
    height: int
    format: str
    mode: str


def decode_image(
    data: bytes, *, name: str, max_pixels: int = MAX_PIXELS, needed: Needed | None = None
) -> DecodedImage:
    """RGB pixels of an encoded picture.

    Args:
        data: the whole file.
        name: what messages call it.
        max_pixels: most pixels that the header may announce.
        needed: (H, W) that suffice for a picture of (H, W) pixels, both as shown; a JPEG may then
            come reduced. None: all pixels.

    Raises:
        ImageFailure: EMPTY_FILE, NOT_AN_IMAGE, TRUNCATED, CORRUPT, TOO_MANY_PIXELS, OUT_OF_MEMORY.
    """
    try:
        return _decode(data, name, max_pixels, needed)
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
        array = image_to_array(image)
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


def _decode(data: bytes, name: str, max_pixels: int, needed: Needed | None) -> DecodedImage:
    reduction = None
    with _open(data, name) as image:
        _refuse_size(image.size, name, max_pixels)
        file_format, mode = str(image.format), image.mode
        orientation = orientation_of(image, data)
        if file_format in _JPEG_LIKE and mode in ("L", "RGB"):
            reduction = reduction_for(image.size, orientation, needed)
            pixels, note = _decode_jpeg(data, name, image, reduction), ""
        else:
            pixels, note = _decode_by_pillow(image, data, name)
        notes = tuple(text for text in (note, _frame_note(image)) if text)
    if reduction is not None:
        return DecodedImage(
            pixels, file_format, mode, orientation, (*notes, reduction.note), reduction
        )
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


def _decode_jpeg(
    data: bytes, name: str, image: Image.Image, reduction: Reduction | None
) -> RgbImage:
    """All pixels, or the reduced ones; a picture that may have been cut is looked at in full."""
    with _typed_failures(data, name):
        if reduction is not None:
            block = 8 // reduction.factor
            reduced = decode_reduced(image, reduction)
            if not (reduced[-block:, -block:] == _GREY).all():
                return reduced
        pixels = jpeg_to_rgb(data)
        if (pixels[-8:, -8:] == _GREY).all() and _is_cut(data, pixels):
            raise ImageFailure(
                ErrorCode.TRUNCATED,
                f"{name}: the lower part of the JPEG is missing though it has an end marker; "
                "fetch or copy it again",
            )
    return pixels if reduction is None else reduced


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
        array = image_to_array(image)
    return array_to_rgb(array, mode, image.info.get("transparency"))


def _frame_note(image: Image.Image) -> str:
    try:
        with _pillow_quiet():
            frames = int(getattr(image, "n_frames", 1))
    except Exception:  # the first frame is good; the others are not asked for
        return "first frame; the others cannot be counted"
    which = "main one" if image.format == "HEIF" else "first"
    return f"{which} of {frames} frames" if frames > 1 else ""


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
    pillow_heif.register_heif_opener(thumbnails=False)
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
