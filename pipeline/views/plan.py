"""Which views of a picture the network is to see: scales, mirror image, windows. No torch.

A plan is a function of the picture's size and the settings alone, so that loading and saving,
in different processes, arrive at the same one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from maskmill.pipeline.views.preprocessing import MIN_SIZE, Preprocessing
from maskmill.pipeline.views.tiling import Window, plan_windows

AUTO_WINDOW_PIXELS: Final = 32_000_000
"""Pictures of more pixels are cut into windows unasked; those of 24-megapixel cameras are not."""

AUTO_WINDOW: Final = 2048
"""Longest side, in original pixels, of the windows that are used unasked."""

NEVER: Final = 0
"""As ``window``: every picture whole, whatever its size."""

DEFAULT_OVERLAP: Final = 0.25
MAX_OVERLAP: Final = 0.9
SCALE_RANGE: Final = (0.25, 4.0)
OUTPUT_STRIDES: Final = (8, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSettings:
    """What was asked for. ``window`` None is the automatic rule, 0 no windows at all.

    ``scales`` multiply the size of the network's input, not that of the picture; ascending,
    without repetition. ``overlap`` is the least share of a window that neighbours have in common.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window: int | None = None
    overlap: float = DEFAULT_OVERLAP

    def window_rule(self) -> str:
        """Which windows pictures get; one line, part of a run's identity."""
        if self.window is None:
            return f"{AUTO_WINDOW} pixels above {AUTO_WINDOW_PIXELS} pixels"
        return "never" if self.window == NEVER else f"{self.window} pixels"

    def forward_cost(self) -> float:
        """Pixels the network computes, relative to one plain view of a picture."""
        return sum(scale * scale for scale in self.scales) * (2 if self.flip else 1)


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """The views of one picture, as many as ``windows`` x ``scales`` x 2 if ``flip``.

    ``windows`` is (None,) where the picture is seen whole, else in order of ascending ``top``.
    """

    windows: tuple[Window | None, ...]
    scales: tuple[float, ...]
    flip: bool

    def places(self) -> Iterator[tuple[Window | None, float]]:
        """Window and scale of each picture for the network, in the order of their views.

        With ``flip`` each of them has two views, the second mirrored.
        """
        return ((window, scale) for window in self.windows for scale in self.scales)

    def view_windows(self) -> Iterator[Window | None]:
        """The window of each view."""
        repeats = 2 if self.flip else 1
        return (window for window, _ in self.places() for _ in range(repeats))


def plan_views(size_hw: tuple[int, int], settings: ViewSettings) -> ViewPlan:
    """The views of a picture of ``size_hw`` pixels.

    A picture that one window covers is seen whole.

    Raises:
        ValueError: sizes below 1 or an overlap outside [0, 1).
    """
    side = settings.window
    if side is None:
        side = AUTO_WINDOW if size_hw[0] * size_hw[1] > AUTO_WINDOW_PIXELS else NEVER
    windows: tuple[Window | None, ...] = (None,)
    if side != NEVER and max(size_hw) > side:
        windows = tuple(plan_windows(size_hw, side, settings.overlap))
    return ViewPlan(windows, settings.scales, settings.flip)


def network_size(
    rule: Preprocessing,
    scale: float,
    *,
    image_size: int | None,
    alignment: str,
    size_hw: tuple[int, int],
) -> int | None:
    """What ``prepare`` is to take as ``image_size`` for a view at this scale.

    At scale 1 it is the given ``image_size``. Else its multiple; with aligned corners that of
    the distance between the first and the last pixel, so that 513 becomes 257, 385, 641, 769 …
    and grid points keep their spacing. A rule that leaves pictures at their own size scales the
    longest side of ``size_hw``.
    """
    if scale == 1:
        return image_size
    own = max(size_hw) if rule.resize == "none" else rule.size
    ends = 1 if alignment == "align_corners" else 0
    size = round(((image_size or own) - ends) * scale) + ends
    return max(size, MIN_SIZE) if rule.resize == "none" else size
