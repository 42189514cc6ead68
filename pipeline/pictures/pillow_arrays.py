"""The pixels of a loaded Pillow picture as an array that ``modes`` makes RGB of."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_WIDE = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def image_to_array(image: Image.Image) -> npt.NDArray[np.generic]:
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
