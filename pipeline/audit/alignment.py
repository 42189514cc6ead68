"""Would a pair agree better if one mask were turned, mirrored or moved? Names the mishap."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from maskmill.pipeline.audit.displacement import Displacement, find_displacement
from maskmill.pipeline.metrics.confusion import ValueTable, count_pair
from maskmill.schemas.arrays import ConfusionCounts, LabelMask

ONE_CLASS: Final = "one_class"
SYMMETRIC: Final = "symmetric"
POOR: Final = "poor"
LITTLE_BORDER: Final = "little_border"
DOUBTS: Final[dict[str, str]] = {
    ONE_CLASS: "one side holds a single class, so a turn or a shift of it would not show",
    SYMMETRIC: "turned or mirrored they agree as well, so a turn would not show",
    POOR: "the two agree little, turned or not, so a turn would not show",
    LITTLE_BORDER: "there is too little border to show a shift",
}
"""Why a pair cannot show whether it was turned or moved."""

MIN_GAIN = 0.02  # of mean IoU, by a shift that is not certain by itself
MIN_TURN_GAIN = 0.1  # by a turn; masks that are wrong anyway can gain a little by chance
LOW_AGREEMENT = 0.8
"""A pair's own mIoU below which even far shifts are looked for; near ones are in every pair."""

POOR_AGREEMENT = 0.5
"""mIoU below which a prediction is not right in the main."""

_LOOKED_AT = 96  # pixels of the shorter side, about, that are enough to see which turn fits best
_SCREEN = 0.05  # of mIoU that sampling may cost a turn, or one pixel a shift

TURNS: Final[dict[str, Callable[[LabelMask], LabelMask]]] = {
    "mirrored left to right": lambda mask: mask[:, ::-1],
    "turned by 180 degrees": lambda mask: mask[::-1, ::-1],
    "mirrored top to bottom": lambda mask: mask[::-1],
    "mirrored along the diagonal": lambda mask: mask.T,
    "turned by 90 degrees clockwise": lambda mask: np.rot90(mask, -1),
    "mirrored along the other diagonal": lambda mask: mask[::-1, ::-1].T,
    "turned by 90 degrees counter-clockwise": lambda mask: np.rot90(mask),
}
"""Name -> what it does to a mask; EXIF orientations 2 to 8 come of these."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """The change of the prediction that makes the pair agree best.

    ``turn`` is '' for a shift. A shift says by how many pixels the prediction lies to the right of
    and below the truth. ``is_certain`` where the pair alone shows it; a shift that is not certain
    counts only where many pairs have it.
    """

    turn: str
    shift_x: int
    shift_y: int
    miou_before: float
    miou_after: float
    is_certain: bool


@dataclass(frozen=True, slots=True)
class Trial:
    """What was found of a pair, and what it cannot show: names of DOUBTS."""

    found: Alignment | None
    doubts: tuple[str, ...]


def mean_iou(truth: LabelMask, prediction: LabelMask, num_classes: int) -> float:
    """mIoU of one pair of class maps over the classes with a union; NaN where there is none."""
    counts = count_pair(
        truth, prediction, num_classes,
        truth_table=_class_table(num_classes, 8 * truth.itemsize),
        prediction_table=_class_table(num_classes, 8 * prediction.itemsize),
    )  # fmt: skip
    return _mean_iou_of(counts.matrix)


@lru_cache(maxsize=4)
def _class_table(num_classes: int, bits: int) -> ValueTable:
    """Classes stand for themselves; whatever is none leaves the count."""
    table = np.minimum(np.arange(1 << bits), num_classes).astype(np.uint16)
    table.flags.writeable = False
    return table


def _mean_iou_of(matrix: ConfusionCounts) -> float:
    hits = np.diagonal(matrix)[:-1]
    union = matrix[:-1].sum(axis=1) + matrix[:-1, :-1].sum(axis=0) - hits
    present = union > 0
    return float(np.mean(hits[present] / union[present])) if present.any() else float("nan")


def turn_of_sizes(truth: LabelMask, prediction: LabelMask, num_classes: int) -> str:
    """For masks whose width and height are swapped: which quarter turn fits best, as words."""
    fitting = {
        name: mean_iou(truth, turn(prediction), num_classes)
        for name, turn in TURNS.items() if turn(prediction).shape == truth.shape
    }  # fmt: skip
    return _undone(max(fitting, key=lambda name: np.nan_to_num(fitting[name])))


def find_alignment(truth: LabelMask, prediction: LabelMask, num_classes: int) -> Alignment | None:
    """The turn or shift that raises the pair's mIoU most; None where nothing raises it enough."""
    matrix = count_pair(truth, prediction, num_classes).matrix
    return try_alignments(truth, prediction, matrix).found


def try_alignments(truth: LabelMask, prediction: LabelMask, matrix: ConfusionCounts) -> Trial:
    """As :func:`find_alignment`, and why a turn or a shift might not have shown.

    ``matrix`` (C + 1, C + 1) is the pair's own.
    """
    num_classes = len(matrix) - 1
    if min(np.count_nonzero(matrix[:-1].sum(axis=axis)) for axis in (0, 1)) < 2:
        return Trial(None, (ONE_CLASS,))
    before = _mean_iou_of(matrix)
    turned, doubt = _best_turn(truth, prediction, num_classes, before)
    displaced = find_displacement(truth, prediction, num_classes, thorough=before < LOW_AGREEMENT)
    moved = _shifted(truth, prediction, num_classes, before, displaced) if displaced else None
    found = max(
        (one for one in (turned, moved) if one), key=lambda one: one.miou_after, default=None
    )
    if found is not None:
        return Trial(found, ())
    doubts = (doubt, LITTLE_BORDER if displaced is None else None)
    return Trial(None, tuple(one for one in doubts if one))


def _best_turn(
    truth: LabelMask, prediction: LabelMask, num_classes: int, before: float
) -> tuple[Alignment | None, str | None]:
    """The turn that makes the pair agree, else why one might not show.

    Some pixels of every row and column are enough to see which turn is the best.
    """
    step = max(1, min(truth.shape) // _LOOKED_AT)
    left, right = truth[::step, ::step], prediction[::step, ::step]
    fitting = {
        name: float(np.nan_to_num(mean_iou(left, turn(right), num_classes)))
        for name, turn in TURNS.items() if turn(right).shape == left.shape
    }  # fmt: skip
    best = max(fitting, key=lambda name: fitting[name])
    own = float(np.nan_to_num(mean_iou(left, right, num_classes)))
    if fitting[best] >= own + MIN_TURN_GAIN - _SCREEN:
        after = mean_iou(truth, TURNS[best](prediction), num_classes)
        if after >= before + MIN_TURN_GAIN:
            return Alignment(_undone(best), 0, 0, before, after, is_certain=True), None
    if fitting[best] <= own - MIN_TURN_GAIN:
        return None, None
    return None, POOR if before < POOR_AGREEMENT else SYMMETRIC


def _undone(turn: str) -> str:
    """What was done to the prediction when ``turn`` makes it right again."""
    if "counter-clockwise" in turn:
        return turn.replace("counter-clockwise", "clockwise")
    return turn.replace("clockwise", "counter-clockwise")


def _shifted(
    truth: LabelMask, prediction: LabelMask, num_classes: int, before: float, found: Displacement
) -> Alignment | None:
    """A shift that does not raise the mIoU is none, however well the borders fit.

    Borders say where it is to a pixel or two; of those shifts, the one of the highest mIoU.
    """
    if (found.x, found.y) == (0, 0):
        return None
    own = mean_iou(*_shared_part(truth, prediction, found.x, found.y), num_classes)
    if own < before - _SCREEN:
        return None
    steps = (0, -1, 1)
    near = [(found.x + right, found.y + down) for right in steps for down in steps]
    scores = [own] + [
        mean_iou(*_shared_part(truth, prediction, x, y), num_classes) if (x, y) != (0, 0) else 0.0
        for x, y in near[1:]
    ]
    after = max(scores)
    if not after > before or (not found.is_certain and after < before + MIN_GAIN):
        return None
    x, y = near[scores.index(after)]
    return Alignment("", x, y, before, after, found.is_certain)


def _shared_part(
    truth: LabelMask, prediction: LabelMask, x: int, y: int
) -> tuple[LabelMask, LabelMask]:
    height, width = truth.shape
    left = truth[max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)]
    right = prediction[max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)]
    return left, right
