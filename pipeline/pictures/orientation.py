"""How a picture is to be turned before it is looked at: the one EXIF rule (CIPA DC-008, 0x0112)."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.pictures.markers import ORIENTATION_TAG, exif_orientation, png_exif

if TYPE_CHECKING:
    from PIL import Image


def orientation_of(image: "Image.Image", data: bytes = b"") -> int:
    """Orientation 1..8 of an opened picture; 1 where it says none, or nonsense. XMP is not asked.

    Args:
        image: as Pillow opened it, loaded or not.
        data: the whole file; a PNG may say it behind its pixels, which Pillow sees once loaded.
    """
    if image.format == "TIFF":
        value = image.tag_v2.get(ORIENTATION_TAG, 1)  # type: ignore[attr-defined]
        return value if isinstance(value, int) and 1 <= value <= 8 else 1
    if image.format == "HEIF":  # it turns itself while it is decoded (ISO/IEC 23008-12: irot, imir)
        return 1
    is_png = image.format == "PNG" and data
    return exif_orientation(png_exif(data) if is_png else image.info.get("exif", b""))


def is_turned(orientation: int) -> bool:
    """True where width and height change places."""
    return orientation > 4


def shown_size(image: "Image.Image", orientation: int) -> tuple[int, int]:
    """(width, height) of an opened, not yet loaded picture once it is turned."""
    width, height = image.size
    # Pillow gives a TIFF's size as it will be once turned.
    return (height, width) if is_turned(orientation) and image.format != "TIFF" else (width, height)


def upright(
    pixels: npt.NDArray[np.uint8], orientation: int, file_format: str | None
) -> npt.NDArray[np.uint8]:
    """(H, W, 3) pixels that Pillow or libjpeg gave, as they are to be shown."""
    # Pillow turns a TIFF itself while it loads it.
    return pixels if file_format == "TIFF" else orient(pixels, orientation)


def orient(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """A view of (H, W, 3) stored pixels as they are to be shown. Orientation: 1..8."""
    if is_turned(orientation):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
