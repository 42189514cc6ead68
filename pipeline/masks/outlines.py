"""Where classes meet, as a pair of lines that can be seen on anything: one dark, one light.

A line of one colour drowns in every picture that has that colour. Of a black and a white line side
by side one always has a contrast of at least 4.58 : 1 to what lies beside them (the square root of
the 21 : 1 between them), by the formula of WCAG 2.2, "contrast ratio".
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from maskmill.schemas.arrays import LabelMask

LIGHT, DARK = 1, 2
"""Values of :func:`outlines`; 0 is no line."""

LINE_COLORS: Final = {LIGHT: (255, 255, 255), DARK: (0, 0, 0)}


def outlines(mask: LabelMask, background: int | None = None) -> npt.NDArray[np.uint8]:
    """(H, W) uint8: LIGHT on the inner side of every border between classes, DARK on the outer.

    Neighbours are those above, below, left and right. Inner is the class with the larger index;
    the background is outside of every other. So each line is one pixel wide, the pair two.
    """
    ranks = mask.astype(np.int32) + 1
    if background is not None:
        ranks[mask == background] = 0
    inner, outer = np.zeros(mask.shape, np.bool_), np.zeros(mask.shape, np.bool_)
    for first, second in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
    ):
        above, below = ranks[first] > ranks[second], ranks[first] < ranks[second]
        inner[first] |= above
        outer[first] |= below
        inner[second] |= below
        outer[second] |= above
    lines = np.where(outer, np.uint8(DARK), np.uint8(0))
    lines[inner] = LIGHT
    return lines


def draw_outlines(
    picture: npt.NDArray[np.uint8], mask: LabelMask, background: int | None = None
) -> None:
    """Paint the lines into an (H, W, 3) picture of the mask's size."""
    lines = outlines(mask, background)
    for value, color in LINE_COLORS.items():
        picture[lines == value] = color
