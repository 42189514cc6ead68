"""Would a pair agree better if one mask were turned, mirrored or moved? Names the mishap."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from maskmill.pipeline.audit.displacement import Displacement, find_displacement
from maskmill.pipeline.metrics.confusion import count_pair
from maskmill.schemas.arrays import LabelMask

MIN_GAIN = 0.02  # of mean IoU, by a shift that is not certain by itself
MIN_TURN_GAIN = 0.1  # by a turn; masks that are wrong anyway can gain a little by chance
LOW_AGREEMENT = 0.8
"""A pair's own mIoU below which it is tried turned; a shift is looked for in every pair."""

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


def mean_iou(truth: LabelMask, prediction: LabelMask, num_classes: int) -> float:
    """mIoU of one pair of class maps over the classes with a union; NaN where there is none."""
    matrix = count_pair(truth, prediction, num_classes).matrix
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
    before = mean_iou(truth, prediction, num_classes)
    is_low = before < LOW_AGREEMENT
    displaced = find_displacement(truth, prediction, num_classes, thorough=is_low)
    found = [
        _best_turn(truth, prediction, num_classes, before) if is_low else None,
        _shifted(truth, prediction, num_classes, before, displaced) if displaced else None,
    ]
    return max((one for one in found if one), key=lambda one: one.miou_after, default=None)


def _best_turn(
    truth: LabelMask, prediction: LabelMask, num_classes: int, before: float
) -> Alignment | None:
    best = None
    for name, turn in TURNS.items():
        turned = turn(prediction)
        if turned.shape == truth.shape:
            after = mean_iou(truth, turned, num_classes)
            if best is None or after > best.miou_after:
                best = Alignment(_undone(name), 0, 0, before, after, is_certain=True)
    return best if best and best.miou_after >= before + MIN_TURN_GAIN else None


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
    steps = (0, -1, 1)
    near = [(found.x + right, found.y + down) for right in steps for down in steps]
    scores = [
        mean_iou(*_shared_part(truth, prediction, x, y), num_classes) if (x, y) != (0, 0) else 0.0
        for x, y in near
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
