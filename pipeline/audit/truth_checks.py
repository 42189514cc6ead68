"""Model-free checks of the truth: what is odd about a mask, whatever a model says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.schemas.arrays import BoolMask, LabelMask

ISLAND_PIXELS = 8  # a class's component up to this size, away from the picture's edge, is an island
THIN_VOID_SHARE = 0.5
MIN_VOID_PIXELS = 64


@dataclass(frozen=True, slots=True)
class Finding:
    """Something odd in one mask. ``index`` is the class, -1 where no class is meant."""

    check: str
    index: int
    count: int  # how many components, or pixels, as ``message`` says
    bbox: tuple[int, int, int, int]  # x, y, width, height of the first one
    message: str


def check_truth(classes: LabelMask, num_classes: int) -> list[Finding]:
    """Every check of ``TRUTH_CHECKS`` on one class map; values from ``num_classes`` on are void."""
    return [finding for check in TRUTH_CHECKS.values() for finding in check(classes, num_classes)]


def islands(classes: LabelMask, num_classes: int) -> list[Finding]:
    """Components of a class of at most ``ISLAND_PIXELS`` pixels: slips of a brush, mostly."""
    if not classes.size:
        return []
    findings = []
    places = np.flatnonzero(_thin_parts(classes)).astype(np.int32)
    values = classes.ravel()[places]
    for index in np.flatnonzero(np.bincount(values, minlength=num_classes)[:num_classes]):
        small = _islands_of(classes, int(index), places[values == index])
        if small:
            message = f"{len(small)} islands of at most {ISLAND_PIXELS} pixels"
            findings.append(Finding("island", int(index), len(small), small[0], message))
    return findings


def _thin_parts(classes: LabelMask) -> BoolMask:
    """(H, W): in no 3 x 3 square of one value. Islands have fewer than 9 pixels and lie here."""
    square = np.ones((3, 3), dtype=np.uint8)
    uniform = (cv2.dilate(classes, square) == cv2.erode(classes, square)).astype(np.uint8)
    uniform[0], uniform[-1], uniform[:, 0], uniform[:, -1] = 0, 0, 0, 0
    thin: BoolMask = cv2.dilate(uniform, square) == 0
    return thin


def _islands_of(
    classes: LabelMask, index: int, thin: npt.NDArray[np.int32]
) -> list[tuple[int, int, int, int]]:
    """Boxes of the islands of one class, by position. Components at the picture's edge are none.

    Only the box around the class's thin parts (flat positions, ascending) is labelled, one pixel
    larger on each side: what is cut off there touches the cut, and no island does.
    """
    rows = thin // classes.shape[1]
    columns = thin - rows * classes.shape[1]
    top, left = max(0, int(rows[0]) - 1), max(0, int(columns.min()) - 1)
    box = classes[top : int(rows[-1]) + 2, left : int(columns.max()) + 2]
    crop = (box == index).view(np.uint8)
    _, numbers = cv2.connectedComponents(crop, connectivity=8)
    found = np.bincount(numbers[rows - top, columns - left])
    for edge in (numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]):
        found[edge[edge < len(found)]] = 0
    boxes = []
    for number in np.flatnonzero((found > 0) & (found <= ISLAND_PIXELS)):  # as far as it is thin
        component = (numbers == number).view(np.uint8)
        if np.count_nonzero(component) <= ISLAND_PIXELS:
            x, y, width, height = cv2.boundingRect(component)
            boxes.append((x + left, y + top, width, height))
    return boxes


def ragged_void(classes: LabelMask, num_classes: int) -> list[Finding]:
    """Void that is mostly specks and single-pixel lines, where a border of even width is meant.

    A pixel counts as thin where no 2 x 2 square of void covers it.
    """
    void = (classes >= num_classes).astype(np.uint8)
    total = int(np.count_nonzero(void))
    if total < MIN_VOID_PIXELS:
        return []
    thick = cv2.morphologyEx(void, cv2.MORPH_OPEN, np.ones((2, 2), dtype=np.uint8))
    thin = int(np.count_nonzero(void & ~thick))
    if thin <= THIN_VOID_SHARE * total:
        return []
    x, y, width, height = cv2.boundingRect(void)
    message = f"{thin} of {total} void pixels are specks or lines one pixel wide"
    return [Finding("ragged_void", -1, thin, (x, y, width, height), message)]


def nothing_labelled(classes: LabelMask, num_classes: int) -> list[Finding]:
    """A mask that is void all over: it takes part in no number."""
    if classes.size and (classes < num_classes).any():
        return []
    height, width = classes.shape
    message = "every pixel is void: this mask counts for nothing"
    return [Finding("nothing_labelled", -1, int(classes.size), (0, 0, width, height), message)]


TRUTH_CHECKS: Final[dict[str, Callable[[LabelMask, int], list[Finding]]]] = {
    "island": islands,
    "ragged_void": ragged_void,
    "nothing_labelled": nothing_labelled,
}
"""Check -> function of one class map and the number of classes."""
