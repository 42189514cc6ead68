"""Boundaries: Boundary IoU, IoU in a band around the truth's borders, and the trimap curve.

A pixel lies within w of its class's border exactly when fewer than w steps to one of its eight
neighbours lead to a pixel that touches another class (Chebyshev's distance, as of repeated 3 x 3
erosions). So the pixels that touch another class are grown step by step, once for all classes, as
bits; then the bits that each class that occurs shares with everything that is near are counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.pipeline.metrics.bit_planes import Plane, PlaneLayout, count, count_shared
from maskmill.schemas.arrays import BoolMask, LabelMask

TRIMAP_WIDTHS = (1, 2, 3, 5, 10, 20, 40)  # pixels on each side; Krähenbühl and Koltun 2011
BAND_WIDTH = 5  # of boundary-band IoU; one of the trimap widths
DILATION_RATIO = 0.02  # of the image diagonal; Cheng et al. 2021

ClassPixels = npt.NDArray[np.int64]
"""(C,) pixels per class."""


@dataclass(frozen=True, slots=True)
class BoundaryCounts:
    """Sums over one pair; they add over pairs."""

    boundary_intersection: ClassPixels
    boundary_union: ClassPixels
    trimap_intersection: npt.NDArray[np.int64]  # (len(TRIMAP_WIDTHS), C)
    trimap_union: npt.NDArray[np.int64]  # (len(TRIMAP_WIDTHS), C)

    @classmethod
    def empty(cls, num_classes: int) -> "BoundaryCounts":
        """Nothing counted yet."""
        per_class = [np.zeros(num_classes, dtype=np.int64) for _ in range(2)]
        per_width = [np.zeros((len(TRIMAP_WIDTHS), num_classes), dtype=np.int64) for _ in range(2)]
        return cls(*per_class, *per_width)

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
    layout = PlaneLayout.of(classes.shape, width)
    touching = layout.touching(layout.values(classes, np.unique(classes).tolist()))
    return layout.unpack(layout.grown(touching, width - 1) | ~layout.inner(width))


@dataclass(frozen=True, slots=True)
class ClassPlanes:
    """Where a class map has which of some classes, and where it touches another value."""

    layout: PlaneLayout
    present: tuple[int, ...]
    planes: Plane  # (len(present), ...)
    touching: Plane

    @classmethod
    def of(cls, classes: LabelMask, present: Iterable[int]) -> "ClassPlanes":
        """Of an (H, W) class map; ``present`` are all of its classes at least, the rest is void."""
        reach = max(boundary_width(*classes.shape), *TRIMAP_WIDTHS)
        layout = PlaneLayout.of(classes.shape, reach)
        wanted = tuple(sorted(present))
        planes = layout.values(classes, wanted)
        return cls(layout, wanted, planes, layout.touching(planes))

    def void(self) -> Plane:
        """Where none of the classes is."""
        void: Plane = self.layout.inner(0) & ~np.bitwise_or.reduce(self.planes, axis=0)
        return void

    def is_void(self) -> bool:
        """True where none of the classes is anywhere."""
        return not self.planes.any()

    def beside(self, classes: LabelMask) -> "ClassPlanes":
        """Of another class map, void wherever this one is."""
        valid = np.bitwise_or.reduce(self.planes, axis=0)
        planes = self.layout.values(classes, self.present) & valid
        return replace(self, planes=planes, touching=self.layout.touching(planes))


def classes_of(*maps: LabelMask, num_classes: int) -> list[int]:
    """The classes, below ``num_classes``, that any of the class maps holds."""
    found = np.unique(np.concatenate([np.unique(one) for one in maps]))
    classes: list[int] = found[found < num_classes].tolist()
    return classes


def count_boundary(
    truth: LabelMask, prediction: LabelMask, num_classes: int, *, known: ClassPlanes | None = None
) -> BoundaryCounts:
    """Count one pair of class maps (values from ``num_classes`` on are ignore).

    Pixels whose truth is ignored leave both masks before the boundaries are taken, so a void region
    cuts the same border into both. For the trimap, the borders are the truth's own.

    Args:
        truth: (H, W) class map.
        prediction: (H, W) class map.
        num_classes: C.
        known: the planes of the truth, for the classes that either of the two holds.
    """
    if known is None:
        known = ClassPlanes.of(truth, classes_of(truth, prediction, num_classes=num_classes))
    counts = BoundaryCounts.empty(num_classes)
    if known.present:
        _count_into(counts, known, known.beside(prediction), boundary_width(*truth.shape))
    return counts


def _count_into(
    counts: BoundaryCounts, truth: ClassPlanes, prediction: ClassPlanes, width: int
) -> None:
    layout, widths = truth.layout, sorted({*TRIMAP_WIDTHS, width})
    grown = layout.growing(truth.touching, tuple(one - 1 for one in widths))
    near = dict(zip(widths, grown, strict=True))
    frame = ~layout.inner(width)  # unused bits too: no class has any
    here = near[width] | frame
    there = layout.grown(prediction.touching, width - 1) | frame
    trimap = np.stack([near[one] for one in TRIMAP_WIDTHS])
    for index, left, right in zip(truth.present, truth.planes, prediction.planes, strict=True):
        one, other, both = count_shared(trimap, np.stack((left, right, left & right))).T
        counts.trimap_intersection[:, index] = both
        counts.trimap_union[:, index] = one + other - both
        inner, outer = left & here, right & there
        hits = count(inner & outer)
        counts.boundary_intersection[index] = hits
        counts.boundary_union[index] = count(inner) + count(outer) - hits


def capped(classes: LabelMask, top: int) -> LabelMask:
    """(H, W): nothing above ``top``; the same array where nothing is."""
    if not classes.size or classes.max() <= top:
        return classes
    # NumPy is quicker with an array of the number than with the number
    limited: LabelMask = np.minimum(classes, np.full_like(classes, top))
    return limited
