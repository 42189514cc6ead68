"""A second opinion on mask pictures: OpenCV decodes what Pillow wrote and read."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.pipeline.masks.picture import MaskPicture, open_picture
from maskmill.schemas.errors import ErrorCode, MaskFailure

PICTURES: Final = (".png", ".tif", ".tiff", ".bmp", ".ppm")
_MODES: Final = ("P", "L", "I;16", "1", "RGB")


def confirm_picture(data: bytes, name: str) -> bool:
    """Whether OpenCV was asked; pictures that the two show in different ways are left out.

    Palettes are compared by their colours, which is what CVAT and others see of them.

    Raises:
        MaskFailure: CORRUPT where OpenCV decodes other pixels than Pillow; as open_picture.
    """
    source = open_picture(data, name=name)
    if source.image.mode not in _MODES or "transparency" in source.image.info:
        return False
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if seen is None:
        raise MaskFailure(ErrorCode.CORRUPT, f"{name}: OpenCV cannot decode it, Pillow can")
    expected = _as_opencv(source)
    if seen.shape != expected.shape or not np.array_equal(seen, expected):
        raise MaskFailure(ErrorCode.CORRUPT, f"{name}: OpenCV decodes other pixels than Pillow")
    return True


def _as_opencv(source: MaskPicture) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """(H, W) grey levels, or (H, W, 3) blue, green, red."""
    image = source.image
    if image.mode == "I;16":
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"))
    return np.asarray(image.convert("RGB"))[:, :, ::-1]
