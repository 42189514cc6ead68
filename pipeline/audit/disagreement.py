"""Where prediction and truth differ: connected regions, and which look like label errors."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.schemas.arrays import ConfidenceMap, ConfusionCounts, LabelMask

MIN_REGION_PIXELS = 32
MAX_REGIONS = 8  # per pair of masks, largest first
CORE_DEPTH = 3  # pixels; what is closer to a region's edge may be the usual dispute over borders


Places = npt.NDArray[np.int32]
"""(N,) flat positions, rows or columns of pixels, or numbers of their regions."""


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
    confidence: ConfidenceMap | None = None,
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
    pairs = _largest_pairs(matrix, limit)
    if not pairs:
        return []
    places = np.flatnonzero(truth != prediction).astype(np.int32)
    values = truth.ravel()[places], prediction.ravel()[places]
    labelled = [
        _labelled(places[(values[0] == pair[0]) & (values[1] == pair[1])], truth.shape[1], pair)
        for pair in pairs
    ]
    areas = np.sort(np.concatenate([one.areas for one in labelled]))[::-1]
    least = max(MIN_REGION_PIXELS, int(areas[:limit][-1]))
    found = [part for one in labelled for part in one.parts(least)]
    found.sort(key=lambda part: (-part.area, part.bbox))
    return [_region(part, confidence) for part in found[:limit]]


def _largest_pairs(matrix: ConfusionCounts, limit: int) -> list[tuple[int, int]]:
    """Class pairs that could hold a region, most pixels first.

    Only as many as can matter: the k-th largest pair cannot hold a region larger than itself.
    """
    wrong = matrix[:-1, :-1].copy()
    np.fill_diagonal(wrong, 0)
    rows, columns = np.nonzero(wrong >= MIN_REGION_PIXELS)
    order = np.argsort(-wrong[rows, columns], kind="stable")[: 2 * limit]
    return [(int(rows[place]), int(columns[place])) for place in order]


@dataclass(frozen=True, slots=True)
class _Part:
    """A connected region: its place in the picture, and its pixels within its box."""

    pair: tuple[int, int]
    area: int
    bbox: tuple[int, int, int, int]
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Labelled:
    """Where a pair of classes occurs, and in which region: rows ascend, numbers are from 1."""

    pair: tuple[int, int]
    rows: Places
    columns: Places
    numbers: Places
    areas: npt.NDArray[np.intp]  # by number; 0 for number 0

    def parts(self, least: int) -> list[_Part]:
        """The regions of at least so many pixels."""
        return [self._part(number) for number in np.flatnonzero(self.areas >= least).tolist()]

    def _part(self, number: int) -> _Part:
        inside = np.flatnonzero(self.numbers == number)
        rows, columns = self.rows[inside], self.columns[inside]
        y, x = int(rows[0]), int(columns.min())
        pixels = np.zeros((int(rows[-1]) - y + 1, int(columns.max()) - x + 1), dtype=np.uint8)
        pixels[rows - y, columns - x] = 1
        box = (x, y, pixels.shape[1], pixels.shape[0])
        return _Part(self.pair, len(rows), box, pixels)


def _labelled(places: Places, width: int, pair: tuple[int, int]) -> _Labelled:
    """The regions of a pair of classes, from where it occurs in a picture of that width."""
    rows = places // width
    columns = places - rows * width
    top, left = rows[0], columns.min()  # places ascend
    crop = np.zeros((rows[-1] - top + 1, columns.max() - left + 1), dtype=np.uint8)
    crop[rows - top, columns - left] = 1
    _, labels = cv2.connectedComponents(crop, connectivity=8)
    numbers = labels[rows - top, columns - left]
    return _Labelled(pair, rows, columns, numbers, np.bincount(numbers))


def _region(part: _Part, confidence: ConfidenceMap | None) -> Region:
    x, y, width, height = part.bbox
    mean = None
    if confidence is not None:
        scores = confidence[y : y + height, x : x + width]
        mean = float(scores[part.pixels.view(np.bool_)].mean(dtype=np.float64))
    return Region(*part.pair, part.area, _core_pixels(part.pixels), part.bbox, mean)


def _core_pixels(region: npt.NDArray[np.uint8]) -> int:
    """Pixels at least ``CORE_DEPTH`` inside; specks in a region do not make it thin."""
    height, width = region.shape  # what lies beyond counts as outside, at the picture's edge too
    padded = np.zeros((height + 2 * CORE_DEPTH, width + 2 * CORE_DEPTH), dtype=np.uint8)
    padded[CORE_DEPTH:-CORE_DEPTH, CORE_DEPTH:-CORE_DEPTH] = region
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
