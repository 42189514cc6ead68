"""Preprocessing: the rule that brings a picture to a network's input; models carry one each."""

from dataclasses import dataclass, replace
from typing import Literal

from maskmill.schemas.errors import SettingsError

ResizeRule = Literal["longest_side", "shortest_side", "exact", "letterbox", "none"]

MIN_SIZE = 32
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """From an RgbImage of any size to the network's input.

    The picture is scaled so that its longest (or shortest) side has ``size`` pixels, or to
    ``size`` x ``size`` (``exact``); other side by round(); bilinear, antialiased, on uint8. With
    ``pad`` it stands at the top left of a square of ``size`` pixels whose rest is the mean colour
    (0 after normalisation), or of grey ``pad_value`` (0..255). ``letterbox``: the longest side is
    scaled, bicubic, sizes cut off, and the picture stands in the middle of the square. ``limit``:
    a picture whose shortest side is scaled stays smaller if its longest would pass this; 0: any.
    Normalisation is (x - mean) / std on values 0..255, per channel, RGB.
    """

    resize: ResizeRule
    size: int
    pad: bool = False
    upscale: bool = True
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    pad_value: float | None = None
    limit: int = 0

    def sized(self, size: int | None) -> "Preprocessing":
        """The same rule at another size; None keeps it.

        Raises:
            SettingsError: a size below 32 pixels.
        """
        if size is None:
            return self
        if size < MIN_SIZE:
            raise SettingsError(
                f"image size {size} is too small for these networks; use {MIN_SIZE} or more"
            )
        resize: ResizeRule = "longest_side" if self.resize == "none" else self.resize
        return replace(self, size=size, resize=resize, limit=0)

    @property
    def has_one_shape(self) -> bool:
        """Whether networks see pictures of every shape in one."""
        return self.pad or self.resize == "exact"

    def describe(self) -> str:
        """One line for people."""
        rule = {
            "longest_side": f"longest side scaled to {self.size}",
            "shortest_side": f"shortest side scaled to {self.size}",
            "exact": f"scaled to {self.size}x{self.size}",
            "letterbox": f"longest side scaled to {self.size} (bicubic)",
            "none": "original size",
        }[self.resize]
        rule += f", longest side to {self.limit} at most" if self.limit else ""
        around = "in the middle of" if self.resize == "letterbox" else "padded to"
        grey = "" if self.pad_value is None else f" of grey {self.pad_value:g}"
        return rule + (f", {around} {self.size}x{self.size}{grey}" if self.pad else "")
