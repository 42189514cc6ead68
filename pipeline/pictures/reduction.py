"""JPEG decoded at 1/2, 1/4 or 1/8: its 8 x 8 blocks are turned into fewer pixels to begin with.

A block becomes 4 x 4, 2 x 2 or 1 pixel, each the mean of what it stands for; sizes round up, so
the last pixels of a side may stand for less than the others (ITU-T T.81 A.3.3; libjpeg's scaling).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from maskmill.pipeline.pictures.orientation import is_turned
from maskmill.schemas.arrays import RgbImage

Needed = Callable[[tuple[int, int]], tuple[int, int]]
"""(H, W) of a whole picture, as shown -> (H, W) of the least that is needed of it."""

_FACTORS = (8, 4, 2)


@dataclass(frozen=True, slots=True)
class Reduction:
    """What the pixels of a reduced picture are, which lie as they are stored, not yet turned.

    Pixel i of an axis stands for the stored pixels ``factor`` * i to ``factor`` * (i + 1) of the
    ``stored_hw`` there are. ``orientation``, 1..8, is how they are to be turned.
    """

    factor: int
    stored_hw: tuple[int, int]
    orientation: int

    @property
    def shown_hw(self) -> tuple[int, int]:
        """Height and width of the whole picture once it is turned."""
        return self.stored_hw[::-1] if is_turned(self.orientation) else self.stored_hw

    @property
    def note(self) -> str:
        """For the rows."""
        return f"decoded at 1/{self.factor}"


def reduction_for(
    size: tuple[int, int], orientation: int, needed: Needed | None
) -> Reduction | None:
    """The strongest reduction that leaves what is needed; None where there is none.

    ``size`` is (width, height) as stored.
    """
    if needed is None:
        return None
    whole = Reduction(1, (size[1], size[0]), orientation)
    least = needed(whole.shown_hw)
    for factor in _FACTORS:
        if all(
            side // factor >= wanted for side, wanted in zip(whole.shown_hw, least, strict=True)
        ):
            return Reduction(factor, whole.stored_hw, orientation)
    return None


def decode_reduced(image: Image.Image, reduction: Reduction) -> RgbImage:
    """(h, w, 3) of an opened JPEG in grey or RGB, sides rounded up; as stored.

    Raises:
        OSError: what Pillow says of a damaged file.
    """
    height, width = reduction.stored_hw
    image.draft(image.mode, (width // reduction.factor, height // reduction.factor))
    expected = tuple(-(-side // reduction.factor) for side in (width, height))
    if image.size != expected:
        raise ValueError(f"draft gave {image.size} for {expected}")
    pixels: RgbImage = np.array(image)
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels
