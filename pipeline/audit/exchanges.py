"""Two files that lie under each other's names: each prediction fits the other's truth."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.audit.class_maps import ClassMaps
from maskmill.pipeline.audit.pair import resized_nearest
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.errors import FileFailure

SKETCH: Final = (48, 48)
"""(H, W) to which masks are brought for comparing many with many."""

MIN_CROSSED = 0.6  # mIoU of the two exchanged back, on average
MIN_GAIN = 0.25  # of mIoU by exchanging back, on average
MIN_OWN_GAIN = 0.05  # of each of the two

_AT_ONCE = 128  # truths

Scores = npt.NDArray[np.float32]
Pixels = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Suspect:
    key: str
    truth: LabelMask
    prediction: LabelMask
    shapes: tuple[Shape, Shape]


def find_exchanges(
    rows: Iterable[Mapping[str, Any]], maps: ClassMaps, num_classes: int
) -> list[tuple[str, str]]:
    """Keys of pairs whose predictions, or truths, were exchanged; each key once.

    Args:
        rows: pairs of low agreement and of sizes that differ, with the columns of PAIRS.
        maps: what reads them again.
        num_classes: C.
    """
    suspects = list(_sketched(rows, maps))
    if len(suspects) < 2:
        return []
    scores = _mean_ious(suspects, num_classes)
    gain = scores - np.diagonal(scores)[:, None]
    crossed = (scores + scores.T) / 2
    fits = (crossed >= MIN_CROSSED) & _fitting_sizes(suspects)
    fits &= (gain + gain.T) / 2 >= MIN_GAIN
    fits &= np.minimum(gain, gain.T) >= MIN_OWN_GAIN
    ones, others = np.nonzero(np.triu(fits, 1))  # few, of very many
    found, used = [], set[int]()
    for place in np.argsort(-crossed[ones, others], kind="stable"):
        first, second = int(ones[place]), int(others[place])
        if not {first, second} & used:
            used |= {first, second}
            found.append((suspects[first].key, suspects[second].key))
    return sorted(found)


def _sketched(rows: Iterable[Mapping[str, Any]], maps: ClassMaps) -> Iterable[_Suspect]:
    for row in rows:
        try:
            truth, prediction = maps.truth(row), maps.prediction(row)
        except FileFailure:  # its own row says so
            continue
        yield _Suspect(
            row["key"], resized_nearest(truth, SKETCH), resized_nearest(prediction, SKETCH),
            (truth.shape, prediction.shape),
        )  # fmt: skip


def _fitting_sizes(suspects: list[_Suspect]) -> npt.NDArray[np.bool_]:
    """(N, N): the prediction of the one has the size of the other's truth, and the other way."""
    numbers: dict[Shape, int] = {}
    sizes = np.array([
        [numbers.setdefault(shape, len(numbers)) for shape in one.shapes] for one in suspects
    ])  # fmt: skip
    fits: npt.NDArray[np.bool_] = sizes[:, None, 0] == sizes[None, :, 1]
    return fits & fits.T


def _mean_ious(suspects: list[_Suspect], num_classes: int) -> Scores:
    """(N, N): mIoU of truth i with prediction j, over the classes that either has.

    A pair of different sizes agrees with itself in nothing.
    """
    truths = np.stack([one.truth.ravel() for one in suspects])
    predictions = np.stack([one.prediction.ravel() for one in suspects])
    present = np.union1d(np.unique(truths), np.unique(predictions))
    classes = present[present < num_classes].tolist()
    parts = (truths[first : first + _AT_ONCE] for first in range(0, len(truths), _AT_ONCE))
    scores = np.concatenate([
        _ious_of_some(part, predictions, classes, num_classes) for part in parts
    ])  # fmt: skip
    for place, one in enumerate(suspects):
        if one.shapes[0] != one.shapes[1]:
            scores[place, place] = 0
    return scores


def _ious_of_some(
    truths: Pixels, predictions: Pixels, classes: list[int], num_classes: int
) -> Scores:
    """(n, N) of (n, P) and (N, P) pixels; classes one by one, as floating-point products."""
    known = (truths < num_classes).astype(np.float32)
    sums, counts = np.zeros((2, len(truths), len(predictions)), dtype=np.float32)
    for index in classes:
        truth = (truths == index).astype(np.float32)
        prediction = (predictions == index).astype(np.float32).T
        both = truth @ prediction
        either = np.sum(truth, axis=1)[:, None] + known @ prediction - both
        sums += np.divide(both, either, out=np.zeros_like(both), where=either > 0)
        counts += either > 0
    means: Scores = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    return means
