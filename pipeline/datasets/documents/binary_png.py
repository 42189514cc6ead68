"""Small two-valued PNGs inside documents, and the base64 around them."""

import base64
import binascii

import numpy as np
from PIL import Image

from maskmill.pipeline.masks.picture import open_picture, png_bytes
from maskmill.schemas.arrays import BoolMask
from maskmill.schemas.errors import DocumentFailure, ErrorCode


def mask_to_png(inside: BoolMask) -> bytes:
    """A 1-bit PNG of an (h, w) bool mask."""
    return png_bytes(Image.fromarray(inside))


def mask_to_palette_png(inside: BoolMask) -> bytes:
    """A palette PNG of black and white with black transparent, as Supervisely writes it."""
    picture = Image.fromarray(inside.astype(np.uint8)).convert("P")
    picture.putdata(inside.astype(np.uint8).ravel().tolist())
    picture.putpalette([0, 0, 0, 255, 255, 255])
    picture.info["transparency"] = 0
    return png_bytes(picture)


def png_to_mask(data: bytes, name: str) -> BoolMask:
    """(h, w) bool: alpha above 0 where there is alpha or transparency, else any value above 0.

    Raises:
        MaskFailure: not a picture, or too large.
    """
    picture = open_picture(data, name=name).image
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        inside: BoolMask = np.asarray(picture.convert("RGBA"))[:, :, 3] > 0
        return inside
    values = np.atleast_3d(np.asarray(picture))
    return np.asarray(values.any(axis=2), dtype=np.bool_)


def base64_to_bytes(text: object, name: str) -> bytes:
    """The bytes of a base64 string.

    Raises:
        DocumentFailure: not base64.
    """
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name}: not base64: {error}") from error


def bytes_to_base64(data: bytes) -> str:
    """Base64 in one line."""
    return base64.b64encode(data).decode("ascii")
