"""Where prediction and truth differ: connected regions, and which look like label errors."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.masks.run_components import RunComponents, run_components
from maskmill.pipeline.metrics.bit_planes import Plane, PlaneLayout, painted
from maskmill.pipeline.metrics.compiled import native
from maskmill.pipeline.metrics.joint_runs import JointRuns
from maskmill.schemas.arrays import ConfidenceMap, ConfusionCounts

MIN_REGION_PIXELS = 32
MAX_REGIONS = 8  # per pair of masks, largest first
CORE_DEPTH = 3  # pixels; what is closer to a region's edge may be the usual dispute over borders

_SHEET_PIXELS = 1 << 20

Places = npt.NDArray[np.int64]
"""(N,) positions or lengths of runs of pixels, or numbers of their components."""


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
    layout = runs.layout
    found = run_components(runs.places, runs.lengths, _codes(runs, pairs), layout.span)
    parts = _largest(found, pairs, limit)
    if confidence is None:
        cores = _cores([part for part in parts if not part.is_slim], runs, found.numbers)
        return [_region(part, cores.get(part.number, 0), None) for part in parts]
    drawn = _drawn(parts, runs, found.numbers)
    return [
        _region(part, drawn[part.number].core, drawn[part.number].mean(confidence))
        for part in parts
    ]


def _largest_pairs(matrix: ConfusionCounts, limit: int) -> list[tuple[int, int]]:
    """Class pairs that could hold a region, most pixels first.

    Only as many as can matter: the k-th largest pair cannot hold a region larger than itself.
    """
    rows, columns = np.nonzero(matrix[:-1, :-1] >= MIN_REGION_PIXELS)
    found = [
        (-pixels, row, column)
        for row, column, pixels in zip(
            rows.tolist(), columns.tolist(), matrix[rows, columns].tolist(), strict=True
        )
        if row != column
    ]
    return [(row, column) for _, row, column in sorted(found)[: 2 * limit]]


def _codes(runs: JointRuns, pairs: list[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """(N,) which of these pairs of classes each run is of, -1 for none."""
    classes = sorted({index for pair in pairs for index in pair})
    side = len(classes) + 1
    places = np.zeros(runs.void + 1, dtype=np.int64)  # 0: in none of the pairs
    places[classes] = np.arange(1, side)
    codes = np.full((side, side), -1, dtype=np.int64)
    codes[tuple(places[np.array(pairs).T])] = np.arange(len(pairs))
    cells = (places * side).take(runs.truth)
    cells += places.take(runs.prediction)
    return codes.ravel().take(cells)


@dataclass(frozen=True, slots=True)
class _Part:
    """A connected region: its number among the components, and its box in the picture."""

    number: int
    pair: tuple[int, int]
    area: int
    bbox: tuple[int, int, int, int]

    @property
    def is_slim(self) -> bool:
        """True where no pixel can be ``CORE_DEPTH`` inside the box."""
        return min(self.bbox[2:]) <= 2 * CORE_DEPTH


def _largest(found: RunComponents, pairs: list[tuple[int, int]], limit: int) -> list[_Part]:
    """The largest regions, by area, then position."""
    large = np.flatnonzero(found.areas >= MIN_REGION_PIXELS)
    if len(large) > limit:
        least = np.partition(found.areas[large], len(large) - limit)[len(large) - limit]
        large = large[found.areas[large] >= least]
    columns = (found.codes, found.areas, found.boxes)
    rows = zip(large.tolist(), *(one[large].tolist() for one in columns), strict=True)
    ordered = sorted((-area, box, code, number) for number, code, area, box in rows)
    return [
        _Part(number, pairs[code], -area, tuple(box)) for area, box, code, number in ordered[:limit]
    ]


def _region(part: _Part, core: int, confidence: float | None) -> Region:
    return Region(*part.pair, part.area, core, part.bbox, confidence)


def _cores(parts: list[_Part], runs: JointRuns, numbers: Places) -> dict[int, int]:
    """Pixels of the cores of some regions, by their numbers."""
    if loops := native():
        chosen = [part.number for part in parts]
        boxes = np.array([part.bbox for part in parts], dtype=np.int64)
        pixels = np.zeros(len(parts), dtype=np.int64)
        loops.cores(
            runs.places, runs.lengths, numbers, np.array(chosen, dtype=np.int64), boxes, pixels,
            runs.layout.span, CORE_DEPTH,
        )  # fmt: skip
        return dict(zip(chosen, pixels.tolist(), strict=True))
    return {number: one.core for number, one in _drawn(parts, runs, numbers).items()}


def _drawn(parts: list[_Part], runs: JointRuns, numbers: Places) -> dict[int, "_Drawn"]:
    """Regions by their numbers, drawn on sheets."""
    sheets = (_sheet_drawn(sheet, runs, numbers) for sheet in _sheets(parts))
    return {one.part.number: one for sheet in sheets for one in sheet}


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A region on a sheet, its first row there, and how many pixels its core has."""

    part: _Part
    core: int
    top: int
    layout: PlaneLayout
    sheet: Plane

    def mean(self, confidence: ConfidenceMap) -> float:
        """Of the region's pixels."""
        x, y, width, height = self.part.bbox
        rows = self.layout.rows(self.sheet, self.top, height)
        inside = self.layout.unpack(rows.ravel())[:, :width]
        scores = confidence[y : y + height, x : x + width]
        return float(scores[inside].mean(dtype=np.float64))


def _sheets(parts: list[_Part]) -> Iterator[list[_Part]]:
    """Regions to draw together, for steps for each cost more than pixels; none of them too large.

    They come in the order of their widths, so that little of a sheet is empty.
    """
    sheet: list[_Part] = []
    height = 0
    for part in sorted(parts, key=lambda one: -one.bbox[2]):
        height += part.bbox[3]
        if sheet and sheet[0].bbox[2] * height > _SHEET_PIXELS:
            yield sheet
            sheet, height = [], part.bbox[3]
        sheet.append(part)
    if sheet:
        yield sheet


def _sheet_drawn(parts: list[_Part], runs: JointRuns, numbers: Places) -> list[_Drawn]:
    """One below the other, with room around each; the first is the widest."""
    room = CORE_DEPTH + 1  # growing reaches a pixel into it from either side
    ends = list(accumulate((part.bbox[3] + room for part in parts), initial=room))
    tops = ends[:-1]
    layout = PlaneLayout.of((ends[-1], parts[0].bbox[2]), CORE_DEPTH + 2)
    sheet = layout.empty()
    starts, lengths = _moved(parts, tops, runs, numbers, layout.span)
    sheet[layout.top :] = painted(starts, starts + lengths, len(sheet) - layout.top)
    core = np.bitwise_count(_core(layout, sheet)).reshape(layout.height, -1)
    inside = np.add.reduceat(core.sum(axis=1, dtype=np.int64), tops)  # nothing between them
    return [
        _Drawn(part, pixels, top, layout, sheet)
        for part, pixels, top in zip(parts, inside.tolist(), tops, strict=True)
    ]


def _moved(
    parts: list[_Part], tops: list[int], runs: JointRuns, numbers: Places, span: int
) -> tuple[Places, Places]:
    """Positions on a sheet of the runs of these regions, and their lengths."""
    slots = np.full(int(numbers.max()) + 2, -1, dtype=np.int64)  # the last is that of number -1
    slots[[part.number for part in parts]] = np.arange(len(parts))
    which = slots.take(numbers, mode="wrap")
    chosen = np.flatnonzero(which >= 0)
    rows, columns = np.divmod(runs.places.take(chosen), runs.layout.span)
    shifts = [
        (top - part.bbox[1]) * span - part.bbox[0] for part, top in zip(parts, tops, strict=True)
    ]
    starts = rows * span + columns + np.array(shifts).take(which.take(chosen))
    return starts, runs.lengths.take(chosen)


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
