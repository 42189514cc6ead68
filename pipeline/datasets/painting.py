"""Regions painted onto one mask, in a written order, with every contested pixel counted."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from maskmill.pipeline.datasets.left_out import COVERED, NO_PIXEL, Omission
from maskmill.pipeline.datasets.samples import (
    ObjectMap,
    Sample,
)
from maskmill.pipeline.masks.rle import (
    class_runs,
    counts_to_strings,
    runs_area,
    runs_bbox,
    runs_to_counts,
)
from maskmill.pipeline.masks.segments import Segment, segments_of
from maskmill.schemas.arrays import BoolMask, LabelMask
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.labels import LabelMap


@dataclass(frozen=True, slots=True)
class Region:
    """Pixels of one class: ``inside`` (h, w) with its corner at column ``left``, row ``top``.

    ``object_id`` numbers the object from 1; 0 where the document knows no objects.
    """

    class_index: int
    inside: BoolMask
    left: int = 0
    top: int = 0
    object_id: int = 0


@dataclass(frozen=True, slots=True)
class Painted:
    """What painting gave: the mask, the objects (None without any), the contested pixels.

    ``left_out`` counts the regions of which no pixel is to be seen.
    """

    mask: LabelMask
    objects: ObjectMap | None
    overlap: int
    left_out: Counter[Omission]


def blank_mask(size_hw: tuple[int, int], labels: LabelMap) -> LabelMask:
    """A mask of background, or of ignore where the label map has none."""
    at = labels.background_index
    value = labels.ignore_index if at is None else at
    mask: LabelMask = np.full(size_hw, value, dtype=labels.mask_dtype)  # type: ignore[assignment]
    return mask


def largest_first(regions: Iterable[Region]) -> list[Region]:
    """Large regions below, small ones on top; equal ones in the given order."""
    return sorted(regions, key=lambda region: -int(np.count_nonzero(region.inside)))


def paint(
    regions: Iterable[Region], size_hw: tuple[int, int], labels: LabelMap, *, name: str
) -> Painted:
    """Paint in the given order: later regions cover earlier ones.

    ``overlap`` counts pixels that two regions of different classes claim.

    Raises:
        DocumentFailure: SIZE_MISMATCH where a region reaches over the border of the picture.
    """
    blank = blank_mask(size_hw, labels)
    mask, empty = blank.copy(), blank[0, 0] if blank.size else 0
    objects: ObjectMap | None = None
    contested = np.zeros(size_hw, dtype=np.bool_)
    numbers: list[int] = []
    left_out: Counter[Omission] = Counter()
    for region in regions:
        window = _window(region, size_hw, name)
        if not region.inside.any():
            left_out[Omission(NO_PIXEL)] += 1
            continue
        seen = mask[window]
        contested[window] |= region.inside & (seen != empty) & (seen != region.class_index)
        seen[region.inside] = region.class_index
        if region.object_id:
            objects = np.zeros(size_hw, dtype=np.int32) if objects is None else objects
            objects[window][region.inside] = region.object_id
            numbers.append(region.object_id)
    if objects is not None:
        seen_pixels = np.bincount(objects.ravel(), minlength=max(numbers) + 1)
        left_out[Omission(COVERED)] = int(np.count_nonzero(seen_pixels[numbers] == 0))
    return Painted(mask, objects, int(np.count_nonzero(contested)), +left_out)


def object_segments(sample: Sample) -> list[Segment]:
    """One segment per (class, object) of a sample, or per class where it knows no objects.

    Ordered by category id, then object number. Background and ignore give none.
    """
    scores = [sample.scores.get(index, float("nan")) for index in range(len(sample.labels.classes))]
    if sample.objects is None:
        return segments_of(sample.mask, sample.labels, class_scores=scores)
    labels, (height, width) = sample.labels, sample.size_hw
    stride = labels.ignore_index + 1
    combined = sample.objects.astype(np.int64) * stride + sample.mask
    found = []
    for value, runs in class_runs(combined).items():  # type: ignore[arg-type]
        number, index = divmod(value, stride)
        if index != labels.ignore_index and index != labels.background_index:
            found.append((labels.classes[index], number, runs))
    found.sort(key=lambda item: (item[0].category_id, item[1]))
    counts = counts_to_strings(
        [runs_to_counts(runs, height * width) for _, _, runs in found], (height, width)
    )
    return [
        Segment(
            class_index=entry.index,
            category_id=entry.category_id,
            area=runs_area(runs),
            bbox=runs_bbox(runs, height),
            counts=text,
            score=sample.scores.get(entry.index),
        )
        for (entry, _, runs), text in zip(found, counts, strict=True)
    ]


def class_regions(sample: Sample) -> Iterator[Region]:
    """The tight region of every (class, object), ordered as :func:`object_segments`."""
    if sample.objects is None:
        for segment in segments_of(sample.mask, sample.labels):
            yield _tight(segment.class_index, 0, segment.bbox, sample)
        return
    labels, stride = sample.labels, sample.labels.ignore_index + 1
    combined = sample.objects.astype(np.int64) * stride + sample.mask
    found = []
    for value, runs in class_runs(combined).items():  # type: ignore[arg-type]
        number, index = divmod(value, stride)
        if index != labels.ignore_index and index != labels.background_index:
            box = runs_bbox(runs, sample.mask.shape[0])
            found.append((labels.classes[index].category_id, number, index, box))
    for _, number, index, box in sorted(found):
        yield _tight(index, number, box, sample)


def _tight(index: int, number: int, box: Sequence[int], sample: Sample) -> Region:
    x, y, width, height = box
    window = np.s_[y : y + height, x : x + width]
    inside = sample.mask[window] == index
    if sample.objects is not None:
        inside &= sample.objects[window] == number
    return Region(index, inside, x, y, number)


def _window(region: Region, size_hw: tuple[int, int], name: str) -> tuple[slice, slice]:
    height, width = region.inside.shape
    bottom, right = region.top + height, region.left + width
    if region.left < 0 or region.top < 0 or bottom > size_hw[0] or right > size_hw[1]:
        raise DocumentFailure(
            ErrorCode.SIZE_MISMATCH,
            f"{name}: a region spans columns {region.left}..{right} and rows {region.top}..{bottom}"
            f" of a picture of {size_hw[1]} x {size_hw[0]}; it was made for another picture",
        )
    return np.s_[region.top : bottom, region.left : right]
