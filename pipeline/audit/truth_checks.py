"""Model-free checks of the truth: what is odd about a mask, whatever a model says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.pipeline.metrics.bit_planes import count
from maskmill.pipeline.metrics.boundary import ClassPlanes, classes_of
from maskmill.schemas.arrays import LabelMask

ISLAND_PIXELS = 8  # a class's component up to this size, away from the picture's edge, is an island
THIN_VOID_SHARE = 0.5
MIN_VOID_PIXELS = 64
_DENSE = (
    32  # pixels for each that may be of an island, below which these are not looked at one by one
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something odd in one mask. ``index`` is the class, -1 where no class is meant."""

    check: str
    index: int
    count: int  # how many components, or pixels, as ``message`` says
    bbox: tuple[int, int, int, int]  # x, y, width, height of the first one
    message: str


def check_truth(
    classes: LabelMask, num_classes: int, known: ClassPlanes | None = None
) -> list[Finding]:
    """Every check of ``TRUTH_CHECKS`` on one class map; values from ``num_classes`` on are void.

    ``known`` are the planes of at least all its classes.
    """
    if known is None and classes.size:
        known = planes_of(classes, num_classes)
    return [
        finding for check in TRUTH_CHECKS.values()
        for finding in check(classes, num_classes, known)
    ]  # fmt: skip


def planes_of(classes: LabelMask, num_classes: int) -> ClassPlanes:
    """The planes of all classes of one class map."""
    return ClassPlanes.of(classes, classes_of(classes, num_classes=num_classes))


def islands(
    classes: LabelMask, num_classes: int, known: ClassPlanes | None = None
) -> list[Finding]:
    """Components of a class of at most ``ISLAND_PIXELS`` pixels: slips of a brush, mostly.

    ``known`` are the planes of at least all its classes.
    """
    if not classes.size:
        return []
    findings = []
    places = _loose_places(classes, known or planes_of(classes, num_classes))
    values = classes.ravel()[places]
    for index in np.unique(values[values < num_classes]).tolist():
        small = _islands_of(classes, index, places[values == index])
        if small:
            message = f"{len(small)} islands of at most {ISLAND_PIXELS} pixels"
            findings.append(Finding("island", index, len(small), small[0], message))
    return findings


def _loose_places(classes: LabelMask, known: ClassPlanes) -> npt.NDArray[np.intp]:
    """Flat positions of the pixels that may belong to an island, ascending; mostly there are none.

    An island has fewer than 9 pixels, so none in a 3 x 3 square of one value, and does not lie at
    the picture's edge. What is connected with such a pixel by its own class is no island either.
    """
    layout = known.layout
    inner = layout.inner(1)
    thick = layout.grown(~known.touching & inner, 1)
    places = layout.places(inner & ~thick)
    if len(places) * _DENSE > classes.size:  # noise
        return places
    flat, firm = classes.ravel(), layout.unpack(thick | ~inner).ravel()
    down = classes.shape[1]
    around = np.array([-down - 1, -down, -down + 1, -1, 1, down - 1, down, down + 1])
    for _ in range(ISLAND_PIXELS if len(places) else 0):
        beside = places[:, None] + around
        holds = firm[beside] & (flat[beside] == flat[places][:, None])
        held = holds.view(np.uint64).ravel() != 0  # any of eight
        firm[places[held]] = True
        places = places[~held]
        if not held.any():
            break
    return places


def _islands_of(
    classes: LabelMask, index: int, loose: npt.NDArray[np.intp]
) -> list[tuple[int, int, int, int]]:
    """Boxes of the islands of one class, by position. Components at the picture's edge are none.

    Only the box around the class's loose pixels (flat positions, ascending) is labelled, one pixel
    larger on each side: what is cut off there touches the cut, and no island does.
    """
    rows = loose // classes.shape[1]
    columns = loose - rows * classes.shape[1]
    top, left = max(0, int(rows[0]) - 1), max(0, int(columns.min()) - 1)
    box = classes[top : int(rows[-1]) + 2, left : int(columns.max()) + 2]
    crop = (box == index).view(np.uint8)
    _, numbers = cv2.connectedComponents(crop, connectivity=8)
    found = np.bincount(numbers[rows - top, columns - left])
    for edge in (numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]):
        found[edge[edge < len(found)]] = 0
    boxes = []
    for number in np.flatnonzero((found > 0) & (found <= ISLAND_PIXELS)):  # as far as it is loose
        component = (numbers == number).view(np.uint8)
        if np.count_nonzero(component) <= ISLAND_PIXELS:
            x, y, width, height = cv2.boundingRect(component)
            boxes.append((x + left, y + top, width, height))
    return boxes


def ragged_void(
    classes: LabelMask, num_classes: int, known: ClassPlanes | None = None
) -> list[Finding]:
    """Void that is mostly specks and single-pixel lines, where a border of even width is meant.

    A pixel counts as thin where no 2 x 2 square of void covers it.
    """
    if not classes.size:
        return []
    known = known or planes_of(classes, num_classes)
    void = known.void()
    total = count(void)
    if total < MIN_VOID_PIXELS:
        return []
    thin = total - count(known.layout.in_squares(void))
    if thin <= THIN_VOID_SHARE * total:
        return []
    x, y, width, height = cv2.boundingRect(known.layout.unpack(void).astype(np.uint8))
    message = f"{thin} of {total} void pixels are specks or lines one pixel wide"
    return [Finding("ragged_void", -1, thin, (x, y, width, height), message)]


def nothing_labelled(
    classes: LabelMask, num_classes: int, known: ClassPlanes | None = None
) -> list[Finding]:
    """A mask that is void all over: it takes part in no number."""
    if classes.size and not (known or planes_of(classes, num_classes)).is_void():
        return []
    height, width = classes.shape
    message = "every pixel is void: this mask counts for nothing"
    return [Finding("nothing_labelled", -1, int(classes.size), (0, 0, width, height), message)]


TRUTH_CHECKS: Final[dict[str, Callable[[LabelMask, int, ClassPlanes | None], list[Finding]]]] = {
    "island": islands,
    "ragged_void": ragged_void,
    "nothing_labelled": nothing_labelled,
}
"""Check -> function of one class map, the number of classes, and its planes, where known."""
