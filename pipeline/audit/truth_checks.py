"""Model-free checks of the truth: what is odd about a mask, whatever a model says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from maskmill.pipeline.masks.run_components import run_components
from maskmill.pipeline.metrics.bit_planes import Plane, PlaneLayout, count
from maskmill.pipeline.metrics.joint_runs import JointRuns, scan
from maskmill.schemas.arrays import LabelMask

ISLAND_PIXELS = 8  # a class's component up to this size, away from the picture's edge, is an island
THIN_VOID_SHARE = 0.5
MIN_VOID_PIXELS = 64
_ISLANDS = f"islands of at most {ISLAND_PIXELS} pixels"

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
    """A class map as its checks see it: its runs of classes, of whatever prediction, and blocks."""

    classes: LabelMask
    runs: JointRuns
    void_pixels: int
    blocks: Plane

    @classmethod
    def of(cls, classes: LabelMask, num_classes: int) -> "TruthMask":
        """Of an (H, W) class map; values from ``num_classes`` on are void."""
        runs, blocks = scan(classes, classes, num_classes, PlaneLayout.of(classes.shape, 1))
        void_pixels = int(np.count_nonzero(classes >= num_classes))
        return cls(classes, runs.of_classes(), void_pixels, blocks.truth)


def check_truth(mask: TruthMask) -> list[Finding]:
    """Every check of ``TRUTH_CHECKS`` on one class map."""
    return [finding for check in TRUTH_CHECKS.values() for finding in check(mask)]


def islands(mask: TruthMask) -> list[Finding]:
    """Components of a class of at most ``ISLAND_PIXELS`` pixels: slips of a brush, mostly.

    Those at the picture's edge may go on beyond it.
    """
    runs, layout = mask.runs, mask.runs.layout
    codes = runs.truth.astype(np.int64)
    codes[runs.truth >= runs.void] = -1
    found = run_components(runs.places, runs.lengths, codes, layout.span)
    x, y, width, height = found.boxes.T
    is_island = (found.areas <= ISLAND_PIXELS) & (x > 0) & (y > 0)
    is_island &= (x + width < layout.width) & (y + height < layout.height)
    boxes: dict[int, list[Box]] = {}
    for number in np.flatnonzero(is_island).tolist():
        boxes.setdefault(int(found.codes[number]), []).append(tuple(found.boxes[number].tolist()))
    return [
        Finding("island", index, len(found), found[0], f"{len(found)} {_ISLANDS}")
        for index, found in sorted(boxes.items())
    ]


def ragged_void(mask: TruthMask) -> list[Finding]:
    """Void that is mostly specks and single-pixel lines, where a border of even width is meant.

    A pixel counts as thin where no 2 x 2 square of void covers it.
    """
    total = mask.void_pixels
    if total < MIN_VOID_PIXELS:
        return []
    layout = mask.runs.layout
    bare = layout.inner(0)
    bare &= ~layout.covered(mask.blocks)
    if count(bare) <= THIN_VOID_SHARE * total:  # of any class
        return []
    void = mask.classes >= mask.runs.void
    thin = int(np.count_nonzero(void & layout.unpack(bare)))
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
