"""Where prediction and truth differ: connected regions, and which look like label errors."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.masks.touching_runs import components_of, touching_runs
from maskmill.pipeline.metrics.bit_planes import Plane, PlaneLayout, painted
from maskmill.pipeline.metrics.joint_runs import JointRuns
from maskmill.schemas.arrays import BoolMask, ConfidenceMap, ConfusionCounts

MIN_REGION_PIXELS = 32
MAX_REGIONS = 8  # per pair of masks, largest first
CORE_DEPTH = 3  # pixels; what is closer to a region's edge may be the usual dispute over borders

_SHEET_PIXELS = 1 << 20

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
    found = _parts(_runs_of_pairs(runs, pairs), limit)
    drawn = _drawn([part for part in found if not part.is_slim or confidence is not None])
    return [_region(part, drawn.get(part.root), confidence) for part in found]


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
    """A connected region: its box in the picture, and its runs, rows and columns in the box."""

    root: int
    pair: tuple[int, int]
    area: int
    bbox: tuple[int, int, int, int]
    rows: Places
    columns: Places
    lengths: Places

    @property
    def is_slim(self) -> bool:
        """True where no pixel can be ``CORE_DEPTH`` inside the box."""
        return min(self.bbox[2:]) <= 2 * CORE_DEPTH


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
        return _Part(root, self.pairs[self.which[root]], area, box, rows - y, columns - x, lengths)


def _parts(runs: _Runs, limit: int) -> list[_Part]:
    """The largest regions, by area, then position."""
    areas = np.bincount(runs.roots, runs.lengths).astype(np.int64)  # of float64, exact to 2**53
    least = max(MIN_REGION_PIXELS, int(np.sort(areas)[::-1][:limit][-1]))
    found = [runs.part(int(root), int(areas[root])) for root in np.flatnonzero(areas >= least)]
    found.sort(key=lambda part: (-part.area, part.bbox))
    return found[:limit]


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
    by_pair = np.argsort(which.astype(np.uint16), kind="stable")  # narrow numbers sort at once
    which, chosen = which[by_pair], wrong[known[by_pair]]
    starts = runs.places[chosen]
    rows, columns = np.divmod(starts, span)
    lengths = runs.places[chosen + 1] - starts
    touching = touching_runs(which * (height + 1) + rows, columns, lengths, width)
    return _Runs(pairs, which, rows, columns, lengths, components_of(*touching, len(chosen)))


def _region(part: _Part, drawn: "_Drawn | None", confidence: ConfidenceMap | None) -> Region:
    x, y, width, height = part.bbox
    mean = None
    if confidence is not None and drawn is not None:
        scores = confidence[y : y + height, x : x + width]
        mean = float(scores[drawn.pixels()].mean(dtype=np.float64))
    return Region(*part.pair, part.area, drawn.core if drawn else 0, part.bbox, mean)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A region on a sheet, its first row there, and how many pixels its core has."""

    part: _Part
    core: int
    top: int
    layout: PlaneLayout
    sheet: Plane

    def pixels(self) -> BoolMask:
        """(height, width) of the region's box."""
        rows = self.layout.rows(self.sheet, self.top, self.part.bbox[3])
        return self.layout.unpack(rows.ravel())[:, : self.part.bbox[2]]


def _drawn(parts: list[_Part]) -> dict[int, _Drawn]:
    """Regions by their roots, drawn on sheets of several: steps for each cost more than pixels."""
    drawn: dict[int, _Drawn] = {}
    for sheet in _sheets(parts):
        drawn |= {one.part.root: one for one in _sheet_drawn(sheet)}
    return drawn


def _sheets(parts: list[_Part]) -> Iterator[list[_Part]]:
    """Regions in the order of their widths, as long as a sheet of them is small."""
    sheet: list[_Part] = []
    for part in sorted(parts, key=lambda one: -one.bbox[2]):
        pixels = (sheet or [part])[0].bbox[2] * sum(one.bbox[3] for one in [*sheet, part])
        if sheet and pixels > _SHEET_PIXELS:
            yield sheet
            sheet = []
        sheet.append(part)
    if sheet:
        yield sheet


def _sheet_drawn(parts: list[_Part]) -> list[_Drawn]:
    """One below the other, with room around each; the first is the widest."""
    room = CORE_DEPTH + 1  # growing reaches a pixel into it from either side
    tops = np.cumsum([room, *(part.bbox[3] + room for part in parts)])
    layout = PlaneLayout.of((int(tops[-1]), parts[0].bbox[2]), CORE_DEPTH + 2)
    starts = np.concatenate([
        (part.rows + top) * layout.span + part.columns
        for part, top in zip(parts, tops[:-1], strict=True)
    ])  # fmt: skip
    sheet = layout.empty()
    sheet[layout.top :] = painted(
        starts, starts + np.concatenate([part.lengths for part in parts]), len(sheet) - layout.top
    )
    core = np.bitwise_count(_core(layout, sheet)).reshape(layout.height, -1)
    return [
        _Drawn(part, int(core[top : top + part.bbox[3]].sum(dtype=np.int64)), top, layout, sheet)
        for part, top in zip(parts, tops[:-1].tolist(), strict=True)
    ]


def _core(layout: PlaneLayout, sheet: Plane) -> Plane:
    """(H * words,) pixels at least ``CORE_DEPTH`` inside; specks in a region do not make it thin.

    So it is closed by a square of three, and then eroded by one of ``2 * CORE_DEPTH + 1``: grown by
    the first, and shrunk by both. What lies beyond a box is outside, at the picture's edge too.
    """
    outside = ~layout.widened(sheet[None].copy(), 1, 3)
    windows = layout.widened(outside, 1, 2 * CORE_DEPTH + 3)
    near = np.empty((1, layout.height * layout.words), dtype=sheet.dtype)
    layout.around(windows, CORE_DEPTH + 2, near)
    core: Plane = sheet[layout.top :] & ~near[0]
    return core


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
