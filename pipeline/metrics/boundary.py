"""Boundaries: Boundary IoU, IoU in a band around the truth's borders, and the trimap curve.

A pixel lies within w of its class's border exactly when fewer than w steps to one of its eight
neighbours lead to a pixel that touches another class (Chebyshev's distance, as of repeated 3 x 3
erosions). So the pixels that touch another class are grown step by step, once for all classes; then
one joint count of both classes and everything that is near gives every number.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.schemas.arrays import BoolMask, LabelMask

TRIMAP_WIDTHS = (1, 2, 3, 5, 10, 20, 40)  # pixels on each side; Krähenbühl and Koltun 2011
BAND_WIDTH = 5  # of boundary-band IoU; one of the trimap widths
DILATION_RATIO = 0.02  # of the image diagonal; Cheng et al. 2021
_SHORT_RUNS = 4  # below this mean run length, counting every pixel is faster

ClassPixels = npt.NDArray[np.int64]
"""(C,) pixels per class."""
Flags = npt.NDArray[np.uint8]
"""(H, W) small whole numbers."""


@dataclass(frozen=True, slots=True)
class BoundaryCounts:
    """Sums over one pair; they add over pairs."""

    boundary_intersection: ClassPixels
    boundary_union: ClassPixels
    trimap_intersection: npt.NDArray[np.int64]  # (len(TRIMAP_WIDTHS), C)
    trimap_union: npt.NDArray[np.int64]  # (len(TRIMAP_WIDTHS), C)

    def band(self) -> tuple[ClassPixels, ClassPixels]:
        """(C,) intersection and (C,) union of the boundary band."""
        row = TRIMAP_WIDTHS.index(BAND_WIDTH)
        return self.trimap_intersection[row], self.trimap_union[row]


def use_one_thread() -> None:
    """Keep OpenCV to the calling thread: a worker process per core has no other to spend."""
    cv2.setNumThreads(1)


def boundary_width(height: int, width: int) -> int:
    """Pixels of the boundary of Boundary IoU: 2 % of the diagonal, at least 1."""
    return max(1, round(DILATION_RATIO * float(np.hypot(height, width))))


def class_boundary(classes: LabelMask, width: int) -> BoolMask:
    """(H, W): within ``width`` pixels of another value or of the picture's edge, for every class.

    Equal, class by class, to the mask minus its erosion by ``width`` steps of 3 x 3 with nothing
    around the picture, which is how Cheng et al. define the boundary region.
    """
    near: BoolMask = _with_edge(grown(touching(classes), width - 1), width).view(np.bool_)
    return near


def touching(classes: LabelMask) -> Flags:
    """(H, W): 1 where one of the eight neighbours has another value. The edge is no border here."""
    ring = np.ones((3, 3), dtype=np.uint8)
    differs: Flags = (cv2.dilate(classes, ring) != cv2.erode(classes, ring)).view(np.uint8)
    return differs


def grown(flags: Flags, steps: int) -> Flags:
    """(H, W): the highest flag within ``steps`` of a pixel."""
    if steps <= 0:
        return flags
    square = np.ones((2 * steps + 1, 2 * steps + 1), dtype=np.uint8)
    result: Flags = cv2.dilate(flags, square)
    return result


def _with_edge(near: Flags, width: int) -> Flags:
    near = near.copy()
    near[:width], near[-width:], near[:, :width], near[:, -width:] = 1, 1, 1, 1
    return near


def count_boundary(truth: LabelMask, prediction: LabelMask, num_classes: int) -> BoundaryCounts:
    """Count one pair of class maps (values from ``num_classes`` on are ignore).

    Pixels whose truth is ignored leave both masks before the boundaries are taken, so a void region
    cuts the same border into both. For the trimap, the borders are the truth's own.
    """
    top = truth.dtype.type(num_classes)
    left = capped(truth, num_classes)
    right = np.maximum(capped(prediction, num_classes), (left == top) * top)
    width = boundary_width(*truth.shape)
    touch = touching(left)
    flags = _reached(touch)
    flags += np.uint8(8) * _with_edge(grown(touch, width - 1), width)
    flags += np.uint8(16) * class_boundary(right, width).view(np.uint8)
    counts, present = _joint_counts(left, right, flags, num_classes)
    return _scattered(_sums(counts), present, num_classes)


def capped(classes: LabelMask, top: int) -> LabelMask:
    """(H, W): nothing above ``top``. NumPy is quicker with an array of it than with the number."""
    limited: LabelMask = np.minimum(classes, np.full_like(classes, top))
    return limited


def _reached(touch: Flags) -> Flags:
    """(H, W): how many of the trimap's widths reach the pixel; they are nested, widest first."""
    reached, near, before = touch.copy(), touch, 1
    for width in TRIMAP_WIDTHS[1:]:
        near, before = grown(near, width - before), width
        reached += near
    return reached


def _joint_counts(
    left: LabelMask, right: LabelMask, flags: Flags, num_classes: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp]]:
    """(32, K + 1, K + 1) pixels by flags, true class and predicted class; (K,) classes.

    The last of each axis is ignore. Only classes that occur have a place.
    """
    (left, right, flags), lengths = _runs((left.ravel(), right.ravel(), flags.ravel()))
    seen = np.bincount(left, minlength=num_classes + 1) + np.bincount(
        right, minlength=num_classes + 1
    )
    present = np.flatnonzero(seen[:num_classes])
    place = np.full(num_classes + 1, len(present), dtype=np.intp)
    place[present] = np.arange(len(present))
    side = len(present) + 1
    codes = (flags.astype(np.intp) * side + place[left]) * side + place[right]
    # float64 weights are exact: they count to 2**53
    counts = np.bincount(codes, weights=lengths, minlength=32 * side * side).astype(np.int64)
    return counts.reshape(32, side, side), present


def _runs(
    maps: tuple[LabelMask, LabelMask, Flags],
) -> tuple[tuple[LabelMask, LabelMask, Flags], npt.NDArray[np.int64] | None]:
    """Values where runs of all maps start, and the runs' lengths; None where runs are short."""
    size = maps[0].size
    changes = np.zeros(max(0, size - 1), dtype=np.bool_)
    for one in maps:
        changes |= one[1:] != one[:-1]
    if np.count_nonzero(changes) * _SHORT_RUNS > size:
        return maps, None
    starts = np.concatenate(([0], np.flatnonzero(changes) + 1)) if size else np.zeros(0, np.intp)
    left, right, flags = maps
    return (left[starts], right[starts], flags[starts]), np.diff(starts, append=size)


def _sums(counts: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
    """(K,) intersection and union of boundaries; (widths, K) of the trimap."""
    split = counts.reshape(2, 2, 8, *counts.shape[1:])  # near in prediction, in truth, widths
    both = _diagonal(split[1, 1].sum(axis=0))
    area = split[:, 1].sum(axis=(0, 1, 3))[:-1] + split[1].sum(axis=(0, 1, 2))[:-1]
    by_reach = split.sum(axis=(0, 1))[::-1]  # most widths first
    within = np.cumsum(by_reach, axis=0)[: len(TRIMAP_WIDTHS), :-1]
    intersection = _diagonal(within)
    union = within.sum(axis=2) + within[:, :, :-1].sum(axis=1) - intersection
    return both, area - both, intersection, union


def _diagonal(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    size = counts.shape[-1] - 1
    return np.diagonal(counts[..., :size, :size], axis1=-2, axis2=-1)


def _scattered(
    sums: tuple[npt.NDArray[np.int64], ...], present: npt.NDArray[np.intp], num_classes: int
) -> BoundaryCounts:
    """Sums of the classes that occur -> sums of all classes."""
    filled = [np.zeros((*one.shape[:-1], num_classes), dtype=np.int64) for one in sums]
    for target, one in zip(filled, sums, strict=True):
        target[..., present] = one
    return BoundaryCounts(*filled)
