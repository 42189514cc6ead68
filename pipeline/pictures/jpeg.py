"""JPEG to RGB by torchvision's decoder (libjpeg-turbo), several times faster than Pillow's.

And RGB to the JPEG that frames of videos are kept as.
"""

import importlib
import importlib.util
import io
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from PIL import Image

from maskmill.schemas.arrays import RgbImage
from maskmill.schemas.errors import ErrorCode, ImageFailure

MAX_SIDE: Final = 65_500
"""Pixels of a side that libjpeg writes."""

_QUALITY = 95
_FULL_COLOR = 0  # no chroma subsampling
_READ_AS_RGB = 3  # torchvision.io.ImageReadMode.RGB


def jpeg_to_rgb(data: bytes) -> RgbImage:
    """(H, W, 3) uint8 of a JPEG, its EXIF orientation not applied.

    Raises:
        RuntimeError: what libjpeg said.
    """
    import torch  # here, because whoever only lists images has no need of it

    # A bytearray because torch warns about memory that cannot be written.
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    decoded = _operator()(encoded, _READ_AS_RGB)
    pixels: RgbImage = decoded.permute(1, 2, 0).numpy()
    return pixels


def rgb_to_jpeg(pixels: RgbImage, *, name: str) -> bytes:
    """The JPEG of (H, W, 3) uint8 pixels, near to lossless; the same pixels give the same bytes.

    Raises:
        ImageFailure: CANNOT_HOLD for a picture longer than the format allows.
    """
    height, width = pixels.shape[:2]
    if max(height, width) > MAX_SIDE:
        raise ImageFailure(
            ErrorCode.CANNOT_HOLD,
            f"{name}: a JPEG has at most {MAX_SIDE} pixels a side, the picture is "
            f"{width}x{height}; leave out --write frames",
        )
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY, subsampling=_FULL_COLOR)
    return stream.getvalue()


@lru_cache(maxsize=1)
def _operator() -> Callable[..., Any]:
    """torchvision's decoder without the rest of torchvision, whose import takes a second.

    The operator and not the Python function, which warns of its own future at every call since
    0.29. Where the library has another name than today, the whole package is imported after all.
    """
    import torch

    package = importlib.util.find_spec("torchvision")
    folder = Path(str(package.origin)).parent if package else Path()
    library = next(folder.glob("image*.so"), None)
    if library is not None:
        torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
    else:
        importlib.import_module("torchvision.io")
    operator: Callable[..., Any] = torch.ops.image.decode_jpeg
    return operator
