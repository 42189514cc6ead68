"""Where prediction and truth differ: connected regions, and which look like label errors."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.pipeline.masks.touching_runs import components_of, touching_runs
from maskmill.pipeline.metrics.bit_planes import painted
from maskmill.pipeline.metrics.joint_runs import JointRuns
from maskmill.schemas.arrays import ConfidenceMap, ConfusionCounts

MIN_REGION_PIXELS = 32
MAX_REGIONS = 8  # per pair of masks, largest first
CORE_DEPTH = 3  # pixels; what is closer to a region's edge may be the usual dispute over borders

_NEIGHBOURS = np.ones((3, 3), dtype=np.uint8)
_DEEP = np.ones((2 * CORE_DEPTH + 1, 2 * CORE_DEPTH + 1), dtype=np.uint8)

Places = npt.NDArray[np.int64]
"""(N,) rows or columns of runs of pixels, their lengths, or numbers of runs and pairs."""


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
    runs: JointRuns,
    matrix: ConfusionCounts,
    *,
    confidence: ConfidenceMap | None = None,
    limit: int = MAX_REGIONS,
) -> list[Region]:
    """The largest regions of one pair, by area, then position.

    Args:
        runs: the pair's; ignore is in no region, neither of the truth nor of the prediction.
        matrix: the pair's own (C + 1, C + 1) counts: they say which class pairs are worth a look.
        confidence: (H, W) confidence of the prediction, 0..1.
        limit: how many to return at most.
    """
    pairs = _largest_pairs(matrix, limit)
    if not pairs:
        return []
    wrong = _runs_of_pairs(runs, pairs)
    areas = np.bincount(wrong.roots, wrong.lengths).astype(np.int64)  # of float64, exact to 2**53
    least = max(MIN_REGION_PIXELS, int(np.sort(areas)[::-1][:limit][-1]))
    found = [wrong.part(int(root), int(areas[root])) for root in np.flatnonzero(areas >= least)]
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
    """A connected region: its box in the picture, and where in the box its runs start and stop."""

    pair: tuple[int, int]
    area: int
    bbox: tuple[int, int, int, int]
    starts: Places
    stops: Places

    def pixels(self) -> npt.NDArray[np.uint8]:
        """(height, width) of the box: 1 where the region is."""
        _, _, width, height = self.bbox
        edges = np.zeros(height * width + 1, dtype=np.bool_)
        edges[self.starts] = True
        edges[self.stops] ^= True
        return painted(edges[:-1]).reshape(height, width)

    def core(self) -> int:
        """Pixels of it at least ``CORE_DEPTH`` inside; a slim box has none that deep."""
        is_slim = min(self.bbox[2:]) <= 2 * CORE_DEPTH
        return 0 if is_slim else _core_pixels(self.pixels())


@dataclass(frozen=True, slots=True)
class _Runs:
    """Runs of pixels in which a pair of classes disagrees: rows of it, by pair.

    ``roots`` are the same for the runs of one region: the number of the first of them.
    """

    pairs: list[tuple[int, int]]
    which: Places  # of ``pairs``
    rows: Places
    columns: Places
    lengths: Places
    roots: Places

    def part(self, root: int, area: int) -> _Part:
        """The region with that root."""
        inside = np.flatnonzero(self.roots == root)
        rows, columns, lengths = (one[inside] for one in (self.rows, self.columns, self.lengths))
        y, x = int(rows[0]), int(columns.min())
        box = (x, y, int((columns + lengths).max()) - x, int(rows[-1]) - y + 1)
        starts = (rows - y) * box[2] + columns - x
        return _Part(self.pairs[self.which[root]], area, box, starts, starts + lengths)


def _runs_of_pairs(runs: JointRuns, pairs: list[tuple[int, int]]) -> _Runs:
    """Where these pairs of classes occur; every region that any of them makes is connected."""
    height, width, span = runs.layout.height, runs.layout.width, runs.layout.span
    wrong = np.flatnonzero(runs.truth != runs.prediction)
    codes = runs.truth.take(wrong).astype(np.int64) << 16 | runs.prediction.take(wrong)
    wanted = np.array([one << 16 | other for one, other in pairs])
    order = np.argsort(wanted)
    place = np.minimum(np.searchsorted(wanted[order], codes), len(pairs) - 1)
    known = np.flatnonzero(wanted[order][place] == codes)
    which = order[place[known]]
    by_pair = np.argsort(which, kind="stable")
    which, chosen = which[by_pair], wrong[known[by_pair]]
    starts = runs.places[chosen]
    rows, columns = np.divmod(starts, span)
    lengths = runs.places[chosen + 1] - starts
    touching = touching_runs(which * (height + 1) + rows, columns, lengths, width)
    return _Runs(pairs, which, rows, columns, lengths, components_of(*touching, len(chosen)))


def _region(part: _Part, confidence: ConfidenceMap | None) -> Region:
    x, y, width, height = part.bbox
    mean = None
    if confidence is not None:
        scores = confidence[y : y + height, x : x + width]
        mean = float(scores[part.pixels().view(np.bool_)].mean(dtype=np.float64))
    return Region(*part.pair, part.area, part.core(), part.bbox, mean)


def _core_pixels(region: npt.NDArray[np.uint8]) -> int:
    """Pixels at least ``CORE_DEPTH`` inside; specks in a region do not make it thin."""
    height, width = region.shape  # what lies beyond counts as outside, at the picture's edge too
    padded = np.zeros((height + 2 * CORE_DEPTH, width + 2 * CORE_DEPTH), dtype=np.uint8)
    padded[CORE_DEPTH:-CORE_DEPTH, CORE_DEPTH:-CORE_DEPTH] = region
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, _NEIGHBOURS)
    return int(np.count_nonzero(padded & cv2.erode(closed, _DEEP)))


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
