"""LabelMask -> segments per class or per connected component: RLE, area, box, score.

Area counts mask pixels and the box is that of the mask, as pycocotools computes both.
Components are 8-connected and ordered by their first pixel in row order.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.pipeline.masks.rle import (
    Runs,
    class_runs,
    counts_to_strings,
    runs_area,
    runs_bbox,
    runs_to_counts,
)
from maskmill.pipeline.masks.run_components import run_components
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.errors import ErrorCode, MaskFailure
from maskmill.schemas.labels import LabelMap

cv2.setNumThreads(1)  # there is a process per core already
Per = Literal["class", "component"]
Box = tuple[int, int, int, int]

_DENSE = 32  # pixels for one run, below which components are found pixel by pixel


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A region of one class: a whole class or one connected component, never empty."""

    class_index: int
    category_id: int
    area: int  # pixels
    bbox: Box  # x, y, width, height
    counts: str  # compressed COCO RLE of the image's size
    score: float | None  # mean top-1 confidence of the class, None where nothing measured it

    def to_row(self) -> dict[str, Any]:
        """The fields of a SEGMENT struct of tables.prelabel."""
        return {
            "category_id": self.category_id,
            "area": self.area,
            "bbox": list(self.bbox),
            "counts": self.counts,
            "score": self.score,
        }


def segments_of(
    mask: LabelMask,
    labels: LabelMap,
    *,
    per: Per = "class",
    class_scores: Sequence[float] | None = None,
    runs: Mapping[int, Runs] | None = None,
) -> list[Segment]:
    """Segments of every class but background and ignore, in category order, then component order.

    ``class_scores`` holds one score per class index; NaN and a missing list give None.
    ``runs`` may carry :func:`class_runs` of the same mask, to save the pass.

    Raises:
        MaskFailure: UNKNOWN_VALUE where the mask holds a value that is no class.
    """
    size = (mask.shape[0], mask.shape[1])
    found = _known_runs(mask, labels, runs)
    kept = [
        (index, part)
        for index in _foreground(found, labels)
        for part in _parts(mask, index, found[index], per)
    ]
    strings = counts_to_strings([runs_to_counts(part, mask.size) for _, part in kept], size)
    return [
        Segment(
            class_index=index,
            category_id=labels.classes[index].category_id,
            area=runs_area(part),
            bbox=runs_bbox(part, size[0]),
            counts=counts,
            score=_score(class_scores, index),
        )
        for (index, part), counts in zip(kept, strings, strict=True)
    ]


def class_statistics(
    mask: LabelMask,
    labels: LabelMap,
    class_scores: Sequence[float] | None = None,
    *,
    runs: Mapping[int, Runs] | None = None,
) -> list[dict[str, Any]]:
    """CLASS_STATS of tables.prelabel for every class in the mask, background included, by index.

    Raises:
        MaskFailure: UNKNOWN_VALUE where the mask holds a value that is no class.
    """
    found = _known_runs(mask, labels, runs)
    return [
        {
            "index": index,
            "name": labels.classes[index].name,
            "category_id": _category_id(labels, index),
            "pixels": runs_area(part),
            "fraction": runs_area(part) / mask.size,
            "mean_confidence": _score(class_scores, index),
            "bbox": list(runs_bbox(part, mask.shape[0])),
            "components": count_components(mask, index, part),
        }
        for index, part in found.items()
        if index != labels.ignore_index
    ]


def drop_small(mask: LabelMask, min_area: int, labels: LabelMap) -> LabelMask:
    """``mask`` with every component under ``min_area`` pixels set to background.

    Where the label map has no background they become ignore. Background itself and ignore are
    never dropped. All components are those of the mask given: nothing merges on the way.
    """
    background = labels.background_index
    fill = labels.ignore_index if background is None else background
    found = class_runs(mask) if min_area > 1 else {}
    small = []
    for index in _foreground(found, labels):
        pieces, owners, count = _owned_pieces(mask, index, found[index])
        areas = np.bincount(owners, pieces[:, 1] - pieces[:, 0], minlength=count)
        small.append(pieces[areas[owners] < min_area])
    dropped = np.concatenate(small) if small else np.zeros((0, 2), np.int64)
    if len(dropped) == 0:
        return mask
    lengths = dropped[:, 1] - dropped[:, 0]
    first = np.repeat(dropped[:, 0] - (np.cumsum(lengths) - lengths), lengths)
    columns, rows = np.divmod(first + np.arange(len(first)), mask.shape[0])
    result = mask.copy()
    result[rows, columns] = fill
    return result


def _known_runs(
    mask: LabelMask, labels: LabelMap, runs: Mapping[int, Runs] | None
) -> Mapping[int, Runs]:
    found = class_runs(mask) if runs is None else runs
    for value, part in found.items():
        if value >= len(labels.classes) and value != labels.ignore_index:
            raise MaskFailure(
                ErrorCode.UNKNOWN_VALUE,
                f"value {value} covers {runs_area(part)} of {mask.size} pixels but label map "
                f"{labels.name!r} has only classes 0 to {len(labels.classes) - 1}",
            )
    return found


def _foreground(found: Mapping[int, Runs], labels: LabelMap) -> list[int]:
    """Class indices to export, by category id."""
    known = [index for index in found if index != labels.ignore_index]
    classes = [labels.classes[index] for index in known]
    exported = [entry for entry in classes if not entry.is_background]
    return [entry.index for entry in sorted(exported, key=lambda entry: entry.category_id)]


def _parts(mask: LabelMask, index: int, runs: Runs, per: Per) -> Iterator[Runs]:
    if per == "class":
        yield runs
    else:
        yield from component_runs(mask, index, runs)


def component_runs(mask: LabelMask, index: int, runs: Runs) -> list[Runs]:
    """Runs of each 8-connected component of a class, by first pixel in row order.

    ``runs`` are all runs of class ``index`` in ``mask``. Where there are several components, the
    runs of the result stay within one column each.
    """
    pieces, owners, count = _owned_pieces(mask, index, runs)
    if count == 1:
        return [runs]
    left, top = np.divmod(pieces[:, 0], mask.shape[0])
    first = np.full(count, mask.size, np.int64)
    np.minimum.at(first, owners, top * mask.shape[1] + left)
    rank = np.empty(count, np.int64)
    rank[np.argsort(first)] = np.arange(count)
    owners = rank[owners]
    order = np.argsort(owners, kind="stable")
    return np.split(pieces[order], np.cumsum(np.bincount(owners))[:-1])


def count_components(mask: LabelMask, index: int, runs: Runs) -> int:
    """How many 8-connected components a class has; ``runs`` are all its runs in ``mask``.

    Counted by which runs of neighbouring columns touch, so that pixels inside cost nothing.
    """
    pieces = _split_at_columns(runs, mask.shape[0])
    if len(pieces) * _DENSE > mask.size:
        return _label_components(mask, index, runs)[0]
    lines, starts = np.divmod(pieces[:, 0], mask.shape[0])
    lengths = pieces[:, 1] - pieces[:, 0]
    span = mask.shape[0] + 1
    found = run_components(lines * span + starts, lengths, np.zeros_like(lines), span)
    return len(found.areas)


def _owned_pieces(
    mask: LabelMask, index: int, runs: Runs
) -> tuple[Runs, npt.NDArray[np.int64], int]:
    """Runs of a class within single columns, the 0-based component of each, and their number."""
    count, canvas, (x, y, _, _) = _label_components(mask, index, runs)
    pieces = _split_at_columns(runs, mask.shape[0])
    left, top = np.divmod(pieces[:, 0], mask.shape[0])
    return pieces, canvas[top - y, left - x].astype(np.int64) - 1, count


def _split_at_columns(runs: Runs, height: int) -> Runs:
    """The same pixels in runs that stay within one column."""
    last = (runs[:, 1] - 1) // height
    repeats = last - runs[:, 0] // height + 1
    owner = np.repeat(np.arange(len(runs)), repeats)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    column = runs[owner, 0] // height + nth
    starts = np.maximum(runs[owner, 0], column * height)
    stops = np.minimum(runs[owner, 1], (column + 1) * height)
    return np.stack([starts, stops], axis=1)


def _label_components(
    mask: LabelMask, index: int, runs: Runs
) -> tuple[int, npt.NDArray[np.int32], Box]:
    """Number of components, their 1-based labels on the class's box (0 outside), and the box."""
    x, y, width, height = box = runs_bbox(runs, mask.shape[0])
    inside = (mask[y : y + height, x : x + width] == index).view(np.uint8)
    count, canvas = cv2.connectedComponents(inside, connectivity=8)
    return count - 1, canvas, box


def _category_id(labels: LabelMap, index: int) -> int | None:
    entry = labels.classes[index]
    return None if entry.is_background else entry.category_id


def _score(class_scores: Sequence[float] | None, index: int) -> float | None:
    score = math.nan if class_scores is None else float(class_scores[index])
    return None if math.isnan(score) else score
