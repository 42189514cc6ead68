"""Where prediction and truth differ: connected regions, and which look like label errors."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from schemas.arrays import BoolMask, ConfusionCounts, LabelMask, ScoreMap

MIN_REGION_PIXELS = 32
MAX_REGIONS = 8  # per pair of masks, largest first
CORE_DEPTH = 3  # pixels; what is closer to a region's edge may be the usual dispute over borders


@dataclass(frozen=True, slots=True)
class Region:
    """An 8-connected region in which one class is predicted as another.

    ``core`` are its pixels at least ``CORE_DEPTH`` pixels inside it. ``confidence`` is the mean
    confidence of the prediction there, 0..1, None without confidences.
    """

    truth: int
    prediction: int
    area: int
    core: int
    bbox: tuple[int, int, int, int]  # x, y, width, height
    confidence: float | None


def disagreeing_regions(
    truth: LabelMask,
    prediction: LabelMask,
    matrix: ConfusionCounts,
    *,
    confidence: ScoreMap | None = None,
    limit: int = MAX_REGIONS,
) -> list[Region]:
    """The largest regions of one pair, by area, then position.

    Args:
        truth: (H, W) class map; values from C on are ignore and in no region.
        prediction: (H, W) class map; an ignored prediction disagrees with nothing.
        matrix: the pair's own (C + 1, C + 1) counts: they say which class pairs are worth a look.
        confidence: (H, W) confidence of the prediction, 0..1.
        limit: how many to return at most.
    """
    regions: list[Region] = []
    for row, column in _largest_pairs(matrix, limit):
        inside = (truth == row) & (prediction == column)
        regions += _regions_of(inside, row, column, confidence, limit)
    regions.sort(key=lambda region: (-region.area, region.bbox))
    return regions[:limit]


def _largest_pairs(matrix: ConfusionCounts, limit: int) -> list[tuple[int, int]]:
    """Class pairs that could hold a region, most pixels first.

    Only as many as can matter: the k-th largest pair cannot hold a region larger than itself.
    """
    wrong = matrix[:-1, :-1].copy()
    np.fill_diagonal(wrong, 0)
    rows, columns = np.nonzero(wrong >= MIN_REGION_PIXELS)
    order = np.argsort(-wrong[rows, columns], kind="stable")[: 2 * limit]
    return [(int(rows[place]), int(columns[place])) for place in order]


def _regions_of(
    inside: BoolMask, row: int, column: int, confidence: ScoreMap | None, limit: int
) -> list[Region]:
    x, y, width, height = cv2.boundingRect(inside.astype(np.uint8))
    crop = inside[y : y + height, x : x + width].astype(np.uint8)
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(crop, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    order = 1 + np.argsort(-areas, kind="stable")[:limit]
    scores = None if confidence is None else confidence[y : y + height, x : x + width]
    return [
        _region(numbers == number, stats[number], (x, y), row, column, scores)
        for number in order if stats[number, cv2.CC_STAT_AREA] >= MIN_REGION_PIXELS
    ]  # fmt: skip


def _region(
    pixels: BoolMask,
    stats: npt.NDArray[np.int32],
    offset: tuple[int, int],
    row: int,
    column: int,
    scores: ScoreMap | None,
) -> Region:
    x, y, width, height, area = (int(value) for value in stats)
    box = slice(y, y + height), slice(x, x + width)
    core = _core_pixels(pixels[box].astype(np.uint8))
    mean = None if scores is None else float(scores[box][pixels[box]].mean(dtype=np.float64))
    return Region(row, column, area, core, (x + offset[0], y + offset[1], width, height), mean)


def _core_pixels(region: npt.NDArray[np.uint8]) -> int:
    """Pixels at least ``CORE_DEPTH`` inside; specks in a region do not make it thin."""
    padded = np.pad(region, CORE_DEPTH)  # its edge counts at the picture's edge too
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((3, 3), dtype=np.uint8))
    square = np.ones((2 * CORE_DEPTH + 1, 2 * CORE_DEPTH + 1), dtype=np.uint8)
    return int(np.count_nonzero(padded & cv2.erode(closed, square)))


def suspicion(region: Region, reliability: npt.NDArray[np.float64]) -> float:
    """How much a region looks like an error of the label rather than of the model, 0..1.

    The product of the model's confidence in what it says there (without confidences: how often the
    model is right, over the whole dataset, when it predicts that class) and the share of the region
    that is core: borders are always in dispute, the inside of a thick region is not.

    Args:
        region: a region.
        reliability: (C,) precision per class over the dataset; NaN counts as 0.
    """
    belief = region.confidence
    if belief is None:
        belief = float(np.nan_to_num(reliability[region.prediction]))
    return belief * region.core / region.area


@dataclass(frozen=True, slots=True)
class Confusion:
    """One class taken for another. ``share`` is of the truth class's pixels."""

    truth: int
    prediction: int
    pixels: int
    share: float


def ranked_confusions(matrix: ConfusionCounts, limit: int = 50) -> list[Confusion]:
    """Pairs of classes most often confused, by pixels; predictions of ignore are not among them."""
    wrong = matrix[:-1, :-1].copy()
    np.fill_diagonal(wrong, 0)
    rows, columns = np.nonzero(wrong)
    order = np.argsort(-wrong[rows, columns], kind="stable")[:limit]
    sizes = matrix[:-1].sum(axis=1)
    return [
        Confusion(
            int(row), int(column), int(wrong[row, column]), float(wrong[row, column] / sizes[row])
        )
        for row, column in zip(rows[order], columns[order], strict=True)
    ]
