"""Boundaries: Boundary IoU, IoU in a band around the truth's borders, and the trimap curve.

One distance transform per mask serves every class and every width. The distance is Chebyshev's, as
of repeated 3 x 3 erosions: a pixel lies within w of its class's border exactly when its distance to
a pixel that touches another class is below w.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from schemas.arrays import BoolMask, LabelMask

TRIMAP_WIDTHS = (1, 2, 3, 5, 10, 20, 40)  # pixels on each side; Krähenbühl and Koltun 2011
BAND_WIDTH = 5  # of boundary-band IoU; one of the trimap widths
DILATION_RATIO = 0.02  # of the image diagonal; Cheng et al. 2021
_FAR = 255

ClassPixels = npt.NDArray[np.int64]
"""(C,) pixels per class."""


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


def border_distance(classes: LabelMask) -> npt.NDArray[np.uint8]:
    """(H, W) Chebyshev distance to the nearest pixel that touches another value; 255 = far or none.

    The picture's own edge is no border here. 0 = touches another value.
    """
    ring = np.ones((3, 3), dtype=np.uint8)
    inside = (cv2.dilate(classes, ring) == cv2.erode(classes, ring)).astype(np.uint8)
    if inside.all():
        return np.full(classes.shape, _FAR, dtype=np.uint8)
    distance = cv2.distanceTransform(inside, cv2.DIST_C, 3)
    capped: npt.NDArray[np.uint8] = np.minimum(distance, _FAR).astype(np.uint8)
    return capped


def class_boundary(classes: LabelMask, width: int) -> BoolMask:
    """(H, W): within ``width`` pixels of another value or of the picture's edge, for every class.

    Equal, class by class, to the mask minus its erosion by ``width`` steps of 3 x 3 with nothing
    around the picture, which is how Cheng et al. define the boundary region.
    """
    if width > _FAR:
        return _eroded_away(classes, width)
    return _near_border(border_distance(classes), width)


def _near_border(distance: npt.NDArray[np.uint8], width: int) -> BoolMask:
    near: BoolMask = distance < width
    near[:width], near[-width:], near[:, :width], near[:, -width:] = True, True, True, True
    return near


def _eroded_away(classes: LabelMask, width: int) -> BoolMask:
    """The same by a minimum and a maximum filter: slower, for pictures above 12,000 pixels wide."""
    square = np.ones((2 * width + 1, 1), dtype=np.uint8)
    padded = np.pad(classes.astype(np.uint16) + 1, width)
    high = cv2.dilate(cv2.dilate(padded, square), square.T)
    low = cv2.erode(cv2.erode(padded, square), square.T)
    near: BoolMask = (high != low)[width:-width, width:-width]
    return near


def count_boundary(truth: LabelMask, prediction: LabelMask, num_classes: int) -> BoundaryCounts:
    """Count one pair of class maps (values from ``num_classes`` on are ignore).

    Pixels whose truth is ignored leave both masks before the boundaries are taken, so a void region
    cuts the same border into both. For the trimap, the borders are the truth's own.
    """
    void = truth >= num_classes
    left = np.where(void, truth.dtype.type(num_classes), truth)
    right = np.where(void | (prediction >= num_classes), truth.dtype.type(num_classes), prediction)
    width = boundary_width(*truth.shape)
    distance = border_distance(left)
    near = _near_border(distance, width) if width <= _FAR else _eroded_away(left, width)
    overlap = _overlap(left, right, near, class_boundary(right, width), num_classes)
    return BoundaryCounts(*overlap, *_trimap(left, right, distance, num_classes))


def _overlap(
    left: LabelMask, right: LabelMask, near_left: BoolMask, near_right: BoolMask, num_classes: int
) -> tuple[ClassPixels, ClassPixels]:
    both = near_left & near_right & (left == right)
    intersection = _pixels(left[both], num_classes)
    area = _pixels(left[near_left], num_classes) + _pixels(right[near_right], num_classes)
    return intersection, area - intersection


def _trimap(
    left: LabelMask, right: LabelMask, distance: npt.NDArray[np.uint8], num_classes: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    widths = len(TRIMAP_WIDTHS)
    # distance -> first width that reaches it; one more stands for "beyond all"
    reach = np.searchsorted(TRIMAP_WIDTHS, np.arange(256), side="right").astype(np.uint8)
    step = reach.take(distance)
    near = (step < widths) & (left < num_classes)
    step, left, right = step[near], left[near], right[near]
    side = num_classes + 1
    truth = _stepwise(step, left, widths, side)
    predicted = _stepwise(step, right, widths, side)
    hit = left == right
    intersection = _stepwise(step[hit], left[hit], widths, side)
    return intersection, truth + predicted - intersection


def _stepwise(
    step: npt.NDArray[np.uint8], classes: LabelMask, widths: int, side: int
) -> npt.NDArray[np.int64]:
    """(widths, C): pixels within each width, from pixels labelled with their first width."""
    codes = step.astype(np.intp) * side + classes
    counts = np.bincount(codes, minlength=widths * side).reshape(widths, side)
    return np.cumsum(counts, axis=0)[:, :-1]


def _pixels(classes: LabelMask, num_classes: int) -> ClassPixels:
    return np.bincount(classes, minlength=num_classes + 1)[:num_classes]
