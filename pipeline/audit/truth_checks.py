"""Model-free checks of the truth: what is odd about a mask, whatever a model says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from maskmill.pipeline.masks.touching_runs import components_of
from maskmill.pipeline.metrics.bit_planes import Places, Plane, PlaneLayout, count
from maskmill.pipeline.metrics.joint_runs import scan
from maskmill.schemas.arrays import LabelMask

ISLAND_PIXELS = 8  # a class's component up to this size, away from the picture's edge, is an island
THIN_VOID_SHARE = 0.5
MIN_VOID_PIXELS = 64
_ISLANDS = f"islands of at most {ISLAND_PIXELS} pixels"
_DENSE = 32  # pixels for each that may be of an island, below which classes are labelled whole
_MANY = 4096  # pixels that may be of an island, up to which they are looked at anyway

Box = tuple[int, int, int, int]
"""x, y, width, height."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something odd in one mask. ``index`` is the class, -1 where no class is meant."""

    check: str
    index: int
    count: int  # how many components, or pixels, as ``message`` says
    bbox: Box  # of the first one
    message: str


@dataclass(frozen=True, slots=True)
class TruthMask:
    """A class map as its checks see it; values from ``void`` on are void.

    ``blocks`` has a bit where the square of two pixels that begins there holds two classes.
    """

    classes: LabelMask
    void: int
    void_pixels: int
    layout: PlaneLayout
    blocks: Plane

    @classmethod
    def of(cls, classes: LabelMask, num_classes: int) -> "TruthMask":
        """Of an (H, W) class map."""
        layout = PlaneLayout.of(classes.shape, 1)
        _, blocks = scan(classes, classes, num_classes, layout)
        void_pixels = int(np.count_nonzero(classes >= num_classes))
        return cls(classes, num_classes, void_pixels, layout, blocks.truth)


def check_truth(mask: TruthMask) -> list[Finding]:
    """Every check of ``TRUTH_CHECKS`` on one class map."""
    return [finding for check in TRUTH_CHECKS.values() for finding in check(mask)]


def islands(mask: TruthMask) -> list[Finding]:
    """Components of a class of at most ``ISLAND_PIXELS`` pixels: slips of a brush, mostly."""
    places = _loose_places(mask)
    if not len(places):
        return []
    is_noise = len(places) > max(_MANY, mask.classes.size // _DENSE)
    boxes = (_labelled_islands if is_noise else _loose_islands)(mask, places)
    return [
        Finding("island", index, len(found), found[0], f"{len(found)} {_ISLANDS}")
        for index, found in sorted(boxes.items())
    ]


def _loose_places(mask: TruthMask) -> Places:
    """Flat positions of the pixels that may belong to an island, ascending; mostly there are few.

    An island has fewer than 9 pixels, so none in a 3 x 3 square of one value, and does not lie at
    the picture's edge.
    """
    layout = mask.layout
    loose = layout.inner(1)
    loose &= ~layout.beside(layout.centres(mask.blocks))
    places = layout.pixels(loose)
    is_class = mask.classes.ravel().take(places) < mask.void
    return places[is_class]


def _loose_islands(mask: TruthMask, places: Places) -> dict[int, list[Box]]:
    """Boxes of islands by class, in the order of their first pixels.

    Loose pixels that are connected with each other and with no other pixel of their class are a
    component.
    """
    flat, down = mask.classes.ravel(), mask.classes.shape[1]
    beside = places[:, None] + np.array(
        [-down - 1, -down, -down + 1, -1, 1, down - 1, down, down + 1]
    )
    values = flat.take(places)
    number, neighbour = np.nonzero(flat.take(beside) == values[:, None])
    beside = beside[number, neighbour]
    other = np.minimum(np.searchsorted(places, beside), len(places) - 1)
    is_loose = places.take(other) == beside
    roots = components_of(number[is_loose], other[is_loose], len(places))
    pixels = np.bincount(roots, minlength=len(places))
    pixels[roots[number[~is_loose]]] = 0
    boxes: dict[int, list[Box]] = {}
    for root in np.flatnonzero((pixels > 0) & (pixels <= ISLAND_PIXELS)):
        y, x = np.divmod(places[roots == root], down)
        top, left = int(y.min()), int(x.min())
        box = left, top, int(x.max()) - left + 1, int(y.max()) - top + 1
        boxes.setdefault(int(values[root]), []).append(box)
    return boxes


def _labelled_islands(mask: TruthMask, places: Places) -> dict[int, list[Box]]:
    """The same for noise, where many pixels are loose: every class that has some is labelled."""
    boxes: dict[int, list[Box]] = {}
    for index in np.unique(mask.classes.ravel().take(places)).tolist():
        flags = (mask.classes == index).view(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(flags, connectivity=8)
        x, y, width, height, pixels = stats.T
        inside = (x > 0) & (y > 0)
        inside &= (x + width < flags.shape[1]) & (y + height < flags.shape[0])
        inside[0] = False  # all that is not of the class
        small = stats[inside & (pixels <= ISLAND_PIXELS), :4].tolist()
        if small:
            boxes[index] = [(box[0], box[1], box[2], box[3]) for box in small]
    return boxes


def ragged_void(mask: TruthMask) -> list[Finding]:
    """Void that is mostly specks and single-pixel lines, where a border of even width is meant.

    A pixel counts as thin where no 2 x 2 square of void covers it.
    """
    total = mask.void_pixels
    if total < MIN_VOID_PIXELS:
        return []
    bare = mask.layout.inner(0)
    bare &= ~mask.layout.covered(mask.blocks)
    if count(bare) <= THIN_VOID_SHARE * total:  # of any class
        return []
    void = mask.classes >= mask.void
    thin = int(np.count_nonzero(void & mask.layout.unpack(bare)))
    if thin <= THIN_VOID_SHARE * total:
        return []
    x, y, width, height = cv2.boundingRect(void.view(np.uint8))
    message = f"{thin} of {total} void pixels are specks or lines one pixel wide"
    return [Finding("ragged_void", -1, thin, (x, y, width, height), message)]


def nothing_labelled(mask: TruthMask) -> list[Finding]:
    """A mask that is void all over: it takes part in no number."""
    if mask.void_pixels < mask.classes.size:
        return []
    height, width = mask.classes.shape
    message = "every pixel is void: this mask counts for nothing"
    return [Finding("nothing_labelled", -1, mask.classes.size, (0, 0, width, height), message)]


TRUTH_CHECKS: Final[dict[str, Callable[[TruthMask], list[Finding]]]] = {
    "island": islands,
    "ragged_void": ragged_void,
    "nothing_labelled": nothing_labelled,
}
"""Check -> function of one mask."""
