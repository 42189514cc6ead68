"""The pictures that masks travel in: opened without trust, written the same way every time."""

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from maskmill.pipeline.masks.plain_png import LEVEL, RUN_LENGTH, plain_png
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.errors import ErrorCode, MaskFailure

MAX_PIXELS = 1 << 28
"""Pixels of the largest mask that is opened; the header is checked before anything is decoded."""

_FORMATS = (
    "PNG", "TIFF", "BMP", "DIB", "PPM", "GIF", "WEBP", "TGA", "JPEG", "JPEG2000", "AVIF",
)  # fmt: skip
"""What is opened at all: Pillow would hand PostScript to an interpreter."""


@dataclass(frozen=True, slots=True)
class MaskPicture:
    """A decoded picture in its own mode, never converted, with the bytes it came from."""

    image: Image.Image
    data: bytes
    name: str

    @property
    def is_lossy(self) -> bool:
        """True for compressions that change values: JPEG in any container, lossy WebP, AVIF."""
        if self.image.format == "WEBP":
            return b"VP8L" not in self.data[12:64]
        in_tiff = self.image.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")
        return in_tiff or self.image.format in ("JPEG", "JPEG2000", "AVIF", "HEIF")

    def refuse_lossy(self) -> None:
        """Class indices do not survive lossy compression.

        Raises:
            MaskFailure: LOSSY_MASK.
        """
        if self.is_lossy:
            is_grey = self.image.mode == "L"
            remedy = "with --from binary if they are 0/255, and " if is_grey else ""
            why = "; grey levels between tell no class" if is_grey else ""
            raise MaskFailure(
                ErrorCode.LOSSY_MASK,
                f"{self.name}: {self.image.format} changes pixel values, so classes blend at "
                f"every border{why}; take the original mask, or convert {remedy}with "
                "--unknown nearest",
            )


def open_picture(data: bytes, *, name: str, max_pixels: int = MAX_PIXELS) -> MaskPicture:
    """The first frame of a picture file. Orientation tags are not applied to masks.

    Raises:
        MaskFailure: EMPTY_FILE, NOT_AN_IMAGE, TOO_MANY_PIXELS (from the header), TRUNCATED or
            CORRUPT; the message names the file.
    """
    if not data:
        raise MaskFailure(ErrorCode.EMPTY_FILE, f"{name}: the file is empty")
    with warnings.catch_warnings():  # what matters is raised
        warnings.simplefilter("ignore")
        picture = _opened(data, name, max_pixels)
        width, height = picture.size
        if width * height > max_pixels:
            raise _too_large(name, f"the header says {width} x {height}", max_pixels)
        return MaskPicture(_loaded(picture, name), data, name)


def _opened(data: bytes, name: str, max_pixels: int) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(name, str(error), max_pixels) from error
    except UnidentifiedImageError as error:  # its message holds an address, other in every run
        raise MaskFailure(
            ErrorCode.NOT_AN_IMAGE, f"{name}: not a picture of any format that is read here"
        ) from error
    except Exception as error:  # Pillow's readers raise many kinds on foreign bytes
        raise MaskFailure(ErrorCode.NOT_AN_IMAGE, f"{name}: not a picture: {error}") from error


def _loaded(picture: Image.Image, name: str) -> Image.Image:
    try:
        picture.load()
    except Exception as error:
        cut_off = "truncated" in str(error) or "unexpected end" in str(error).lower()
        code = ErrorCode.TRUNCATED if cut_off else ErrorCode.CORRUPT
        raise MaskFailure(code, f"{name}: cannot be decoded: {error}") from error
    return picture


def _too_large(name: str, what: str, max_pixels: int) -> MaskFailure:
    return MaskFailure(
        ErrorCode.TOO_MANY_PIXELS, f"{name}: {what}; masks over {max_pixels} pixels are refused"
    )


def index_png(
    mask: LabelMask, *, palette: bytes | None = None, text: Mapping[str, str] | None = None
) -> bytes:
    """PNG of class indices: palette PNG of an uint8 mask with ``palette``, else grey.

    uint16 masks give 16-bit grey PNGs. The same arguments give the same bytes; ``text`` becomes
    tEXt chunks (iTXt beyond Latin-1) in key order.

    Raises:
        TypeError: a mask of another dtype, which is a mistake in the program.
        ValueError: a mask without pixels.
    """
    if mask.dtype == np.uint8:
        return plain_png(mask.astype(np.uint8, copy=False), palette=palette, text=text)
    if mask.dtype != np.uint16:
        raise TypeError(f"a mask is uint8 or uint16, not {mask.dtype}")
    size = (mask.shape[1], mask.shape[0])
    return png_bytes(Image.frombytes("I;16", size, mask.astype("<u2").tobytes()), text=text)


def png_bytes(picture: Image.Image, *, text: Mapping[str, str] | None = None) -> bytes:
    """A PNG that depends on nothing but the arguments."""
    chunks = PngImagePlugin.PngInfo()
    for key, value in sorted((text or {}).items()):
        chunks.add_text(key, value)
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=LEVEL, compress_type=RUN_LENGTH, pnginfo=chunks)
    return stream.getvalue()
