"""By how many pixels a prediction lies beside its truth, and whether that can be chance.

Borders are matched, not classes: a prediction that names an object wrongly still shows where it is.
Each border pixel of the truth is as far from the prediction's nearest border as a capped distance
transform says (robust chamfer matching, Borgefors 1988); the shift that makes the mean square of
these distances least is looked for. Borders wobble by more than a pixel even where a prediction is
good, alike over some pixels and independently farther away, so the evidence for a shift is the
log-likelihood ratio of normal errors, counted once per block of the picture: blocks x ln(mean
square before / after).

A network that draws every object too small, or too large, moves all borders of an object inward:
where the picture's edge cuts the object, the borders that are left agree on a shift. So borders
that the shift moves inward and those that it moves outward must both speak for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.pipeline.metrics.compiled import native
from maskmill.schemas.arrays import LabelMask

MAX_SHIFT = 40  # pixels, at most a quarter of the shorter side
MIN_CERTAIN_SHIFT = 2.0  # pixels; less is how a network draws its borders
MIN_EVIDENCE = 40.0
CLEAR_GAIN = 1.2  # borders more than three times nearer: then half the evidence will do
MIN_CLEAR_EVIDENCE = 20.0
MIN_OPPOSED = 5.0  # evidence of the side with less; masks eroded or dilated by 3 pixels: 0 at most
CLEAR_OPPOSED = 16.0  # both sides for themselves: then less will do in all
MIN_OPPOSED_EVIDENCE = 32.0

_CAP = 10.0  # pixels; a border farther away belongs to something else
_OUTSIDE = 1e6  # square pixels; no distance is that large
_BLOCK = 24  # pixels; borders farther apart wobble independently
_MIN_BORDER = 60  # pixels
_SEARCHED = 600  # border pixels looked at while searching
_PROMISE = 0.03  # of the cost
_COARSE = 4  # pixels; steps of the first search
_SMOOTH = 3.0  # pixels; staircases have no direction of their own
_NEIGHBOURS = np.ones((3, 3), dtype=np.uint8)
_ALONG = 0.3  # cosine of border and shift from which a border is moved across itself

Places = npt.NDArray[np.intp]
Squares = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Displacement:
    """Pixels by which the prediction lies right of and below the truth, and how sure that is.

    ``gain`` is ln(mean square distance before / after), ``evidence`` that times the blocks, and
    ``opposed`` the same of the borders that are moved inward or of those that are moved outward,
    whichever is less.
    """

    x: int
    y: int
    gain: float
    evidence: float
    opposed: float

    @property
    def is_certain(self) -> bool:
        """True where neither chance nor wobbling borders explain it."""
        far = float(np.hypot(self.x, self.y)) >= MIN_CERTAIN_SHIFT
        needed = MIN_EVIDENCE if self.gain < CLEAR_GAIN else MIN_CLEAR_EVIDENCE
        if self.opposed >= CLEAR_OPPOSED:
            needed = min(needed, MIN_OPPOSED_EVIDENCE)
        return far and self.opposed >= MIN_OPPOSED and self.evidence >= needed


def find_displacement(
    truth: LabelMask, prediction: LabelMask, num_classes: int, *, thorough: bool = True
) -> Displacement | None:
    """The shift that brings the borders together best, by 0 where none does.

    None where there is too little border to tell.

    Args:
        truth: (H, W) class map; values from ``num_classes`` on are void, which has no borders of
            its own: it is split where the classes around it would meet.
        prediction: (H, W) class map of the same size.
        num_classes: C.
        thorough: search all shifts even where small steps promise nothing, which a far shift does
            not need to.
    """
    reach = min(MAX_SHIFT, (min(truth.shape) - 1) // 4)
    if reach < 1:
        return None
    matching = _matching(truth, prediction, num_classes, reach)
    if matching is None:
        return None
    x, y = matching.nearest(reach) if thorough or matching.promises(reach) else (0, 0)
    return Displacement(x, y, *matching.gain(x, y))


@dataclass(frozen=True, slots=True)
class _Matching:
    """Squared distances to the prediction's borders, framed by as many pixels as are searched.

    Flat, in rows of ``width``; ``places`` are the truth's border pixels in it, ``sampled`` some of
    them. ``classes`` is the truth without void, ``frame`` the pixels around it.
    """

    classes: LabelMask
    frame: int
    squares: Squares
    width: int
    places: Places
    sampled: Places

    def costs(self, shifts: Sequence[tuple[int, int]]) -> npt.NDArray[np.float64]:
        """(N,) mean squared distances of some border pixels, the truth moved by (x, y) each.

        Those that leave the picture say nothing; where most do, nothing is known: infinity.
        """
        sums, counts = self._sums(np.array([y * self.width + x for x, y in shifts]))
        enough = 2 * counts >= len(self.sampled)
        means = np.full(len(sums), np.inf)
        np.divide(sums, counts, out=means, where=enough)
        return means

    def _sums(self, moves: Places) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """(N,) sums of the squares that are known, and how many these are."""
        if loops := native():
            sums, counts = np.empty(len(moves)), np.empty(len(moves), dtype=np.int64)
            loops.costs(self.squares, self.sampled, moves, sums, counts, int(_OUTSIDE))
            return sums, counts
        squares = self.squares.take(self.sampled + moves[:, None])
        known = squares < _OUTSIDE
        squares[~known] = 0
        return squares.sum(axis=1, dtype=np.float64), np.count_nonzero(known, axis=1)

    def promises(self, reach: int) -> bool:
        """True where a small step to some side helps; it seldom does, and is seen at once."""
        steps = ((2, 0), (-2, 0), (0, 2), (0, -2), (1, 0), (-1, 0), (0, 1), (0, -1))
        costs = self.costs([(0, 0), *(one for one in steps if max(map(abs, one)) <= reach)])
        return bool(costs[1:].min() < (1 - _PROMISE) * costs[0])

    def nearest(self, reach: int) -> tuple[int, int]:
        """The shift of least cost: from a coarse grid downhill."""
        last = reach // _COARSE * _COARSE
        places = range(-last, last + 1, _COARSE)
        best = self._least([(x, y) for y in places for x in places])
        for step in (2, 1):
            while True:
                x, y = best
                around = [
                    (x + right * step, y + down * step)
                    for right in (0, -1, 1) for down in (0, -1, 1)
                    if max(abs(x + right * step), abs(y + down * step)) <= reach
                ]  # fmt: skip
                if (better := self._least(around)) == best:
                    break
                best = better
        return best

    def _least(self, shifts: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """Of the least cost, the first; of equal ones the nearest."""
        costs = zip(self.costs(shifts).tolist(), shifts, strict=True)
        return min(costs, key=lambda one: (one[0], abs(one[1][0]) + abs(one[1][1])))[1]

    def gain(self, x: int, y: int) -> tuple[float, float, float]:
        """Gain and evidence of borders that have a partner either way, and the evidence of the side
        with less.
        """
        if (x, y) == (0, 0):
            return 0.0, 0.0, 0.0
        before = self.squares.take(self.places)
        after = self.squares.take(self.places + (y * self.width + x))
        partnered = np.minimum(before, after) < _CAP**2
        partnered &= np.maximum(before, after) < _OUTSIDE
        across = self._across(x, y)
        inward, outward = (
            self._evidence(before, after, partnered & (side > _ALONG))[1]
            for side in (across, -across)
        )
        return *self._evidence(before, after, partnered), min(inward, outward)

    def _evidence(
        self, before: Squares, after: Squares, chosen: npt.NDArray[np.bool_]
    ) -> tuple[float, float]:
        """ln(mean square before / after) of the chosen border pixels, and that times the blocks
        they lie in.
        """
        if not chosen.any():
            return 0.0, 0.0
        rows, columns = np.divmod(self.places[chosen], self.width)
        blocks = len(np.unique(rows // _BLOCK * self.width + columns // _BLOCK))
        means = [float(one[chosen].mean(dtype=np.float64)) for one in (before, after)]
        least = 0.25  # square pixels: no border is drawn more exactly than to half a pixel
        gain = float(np.log((means[0] + least) / (means[1] + least)))
        return gain, blocks * gain

    def _across(self, x: int, y: int) -> Squares:
        """Cosine between the shift and the way to the class of higher index, per border pixel."""
        rows, columns = np.divmod(self.places, self.width)
        smooth = cv2.GaussianBlur(self.classes.astype(np.float32), (0, 0), _SMOOTH)
        right, down = (
            cv2.Sobel(smooth, cv2.CV_32F, *way)[rows - self.frame, columns - self.frame]
            for way in ((1, 0), (0, 1))
        )
        steepness = np.maximum(np.hypot(right, down), 1e-6) * np.hypot(x, y)
        cosines: Squares = (right * x + down * y) / steepness
        return cosines


def _matching(
    truth: LabelMask, prediction: LabelMask, num_classes: int, reach: int
) -> _Matching | None:
    there = _borders(_without_void(prediction, num_classes))
    classes = _without_void(truth, num_classes)
    here = np.flatnonzero(_borders(classes).view(np.bool_))  # of flags it is quick
    if len(here) < _MIN_BORDER or not there.any():
        return None
    distances = cv2.distanceTransform(1 - there, cv2.DIST_L2, 3)
    np.minimum(distances, np.float32(_CAP), out=distances)
    height, width = (side + 2 * reach for side in distances.shape)
    framed = np.full((height, width), _OUTSIDE, dtype=np.float32)
    np.square(distances, out=framed[reach : height - reach, reach : width - reach])
    rows, columns = np.divmod(here, distances.shape[1])
    places = (rows + reach) * width + columns + reach
    every = max(1, len(places) // _SEARCHED)
    sampled = np.ascontiguousarray(places[::every])
    return _Matching(classes, reach, framed.ravel(), width, places, sampled)


def _without_void(classes: LabelMask, num_classes: int) -> LabelMask:
    """Void takes the class of the nearest labelled pixel."""
    void = (classes >= num_classes).view(np.uint8)
    if not void.any() or void.all():
        return classes
    _, nearest = cv2.distanceTransformWithLabels(
        void, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    beside = np.flatnonzero(cv2.dilate(void, _NEIGHBOURS) > void)  # no other pixel is the nearest
    numbers, filled = nearest.ravel(), classes.copy()
    values = np.zeros(int(numbers.max()) + 1, dtype=classes.dtype)
    values[numbers.take(beside)] = classes.ravel().take(beside)
    unknown = np.flatnonzero(void.view(np.bool_))
    filled.ravel()[unknown] = values.take(numbers.take(unknown))
    return filled


def _borders(classes: LabelMask) -> npt.NDArray[np.uint8]:
    """(H, W), 1 where the pixel above or to the left is of another class."""
    borders = np.zeros(classes.shape, dtype=np.uint8)
    borders[:, 1:] |= classes[:, 1:] != classes[:, :-1]
    borders[1:] |= classes[1:] != classes[:-1]
    return borders
