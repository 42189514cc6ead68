"""Augmentation: picture and mask scaled, cropped, mirrored and recoloured together.

All chance comes from one generator per sample and epoch, so what a sample looks like depends
neither on threads nor on what else is read.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from maskmill.pipeline.training.pairs import Pair, scaled_hw
from maskmill.pipeline.views.preprocessing import Preprocessing


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What may happen to a pair. ``crop`` is the side in pixels of what comes out."""

    preprocessing: Preprocessing
    crop: int
    scales: tuple[float, float]
    flip: bool
    jitter: float

    def __call__(self, pair: Pair, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(3, h, w) and (h, w) uint8 or uint16 as int32; h, w at most ``crop``.

        The picture is as if it were scaled by the input rule times a factor drawn evenly from
        ``scales``, and a window of ``crop`` pixels cut out where chance has it. Picture: bilinear,
        antialiased; mask: nearest.
        """
        window, size_hw = self._window(pair, generator)
        top, left, height, width = window
        pixels = torch.from_numpy(np.ascontiguousarray(pair.pixels)).permute(2, 0, 1)
        mask = torch.from_numpy(pair.mask.astype(np.int32))
        pixels = pixels[:, top : top + height, left : left + width]
        mask = mask[None, top : top + height, left : left + width]
        pixels = v2.functional.resize_image(pixels, list(size_hw), antialias=True)
        mask = v2.functional.resize_image(mask, list(size_hw), InterpolationMode.NEAREST_EXACT)
        if self.flip and _draw(generator) < 0.5:
            pixels = v2.functional.horizontal_flip_image(pixels)
            mask = v2.functional.horizontal_flip_mask(mask)
        if self.jitter:
            pixels = _recoloured(pixels, self.jitter, generator)
        return pixels, mask[0]

    def _window(
        self, pair: Pair, generator: torch.Generator
    ) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
        """(top, left, height, width) in the pair, and the size that it is scaled to."""
        low, high = self.scales
        height, width = pair.mask.shape
        scaled = scaled_hw(
            (height, width), self.preprocessing, low + (high - low) * _draw(generator)
        )
        tops, lefts = (
            _cut(old, new, self.crop, _draw(generator))
            for old, new in zip((height, width), scaled, strict=True)
        )
        return (tops[0], lefts[0], tops[1], lefts[1]), (tops[2], lefts[2])


def _cut(old: int, new: int, crop: int, chance: float) -> tuple[int, int, int]:
    """Of one axis: where the window starts, its length, and the length it is scaled to."""
    if new <= crop:
        return 0, old, new
    length = min(old, max(1, round(crop * old / new)))
    return int(chance * (old - length + 1)), length, crop


def _recoloured(pixels: Tensor, jitter: float, generator: torch.Generator) -> Tensor:
    """Brightness, contrast, saturation and hue changed by chance, in this order."""
    brightness, contrast, saturation = (1 + jitter * _signed(generator) for _ in range(3))
    pixels = v2.functional.adjust_brightness_image(pixels, brightness)
    pixels = v2.functional.adjust_contrast_image(pixels, contrast)
    pixels = v2.functional.adjust_saturation_image(pixels, saturation)
    return v2.functional.adjust_hue_image(pixels, jitter / 4 * _signed(generator))  # type: ignore[no-any-return]


def _draw(generator: torch.Generator) -> float:
    """A number in [0, 1)."""
    return float(torch.rand((), generator=generator))


def _signed(generator: torch.Generator) -> float:
    """A number in [-1, 1)."""
    return 2 * _draw(generator) - 1
