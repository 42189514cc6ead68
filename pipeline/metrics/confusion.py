"""Counting: two label masks -> an int64 confusion matrix and a census of values that are no class.

Masks are constant over long runs, so the runs are counted, not the pixels: where neither mask
changes from one pixel to the next, the pair of values is the same. Where runs are short (noise),
every pixel is counted instead. Both ways give the same integers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.metrics.compiled import native
from maskmill.schemas.arrays import ConfusionCounts, LabelMask
from maskmill.schemas.errors import ErrorCode, MaskFailure, SettingsError

ValueTable = npt.NDArray[np.uint16]
"""(256,) or (65536,): mask value -> class index; C = ignore, C + 1 = out of range (no class)."""

BAND_PIXELS = 1 << 17  # pixels looked at together: what is made of them stays in a core's cache
_SHORT_RUNS = 6  # below this mean run length, counting every pixel is faster


@dataclass(frozen=True, slots=True)
class PairCounts:
    """What one pair of masks adds up to.

    ``matrix`` is (C + 1, C + 1) int64, rows truth, columns prediction, last = ignore or no class.
    The two censuses give pixels per mask value that is neither a class nor ignore.
    """

    matrix: ConfusionCounts
    truth_out_of_range: dict[int, int]
    prediction_out_of_range: dict[int, int]


def empty_matrix(num_classes: int) -> ConfusionCounts:
    """(C + 1, C + 1) int64 zeros: the matrix of no pixels, and the start of every sum."""
    return np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)


def value_table(
    num_classes: int,
    *,
    ignore: Iterable[int] = (),
    mapping: Mapping[int, int | None] | None = None,
    bits: int = 16,
) -> ValueTable:
    """One lookup from mask values to class indices.

    Args:
        num_classes: C; the values 0 … C - 1 stand for themselves where no mapping is given.
        ignore: values that leave the count; they win over ``mapping``.
        mapping: value -> class index, or None for ignore. Values it does not name are no class.
        bits: 8 or 16, the width of the mask's values.

    Raises:
        SettingsError: an ignore value or a mapped value outside the mask's range, or a mapping
            to something that is no class.
    """
    size = 1 << bits
    table = np.full(size, num_classes + 1, dtype=np.uint16)
    if mapping is None:
        table[: min(num_classes, size)] = np.arange(min(num_classes, size))
    for value, target in (mapping or {}).items():
        _refuse_outside(value, size)
        if target is not None and not 0 <= target < num_classes:
            raise SettingsError(
                f"the map sends {value} to {target}; classes are 0..{num_classes - 1}"
            )
        table[value] = num_classes if target is None else target
    for value in ignore:
        _refuse_outside(value, size)
        table[value] = num_classes
    return table


def _refuse_outside(value: int, size: int) -> None:
    if not 0 <= value < size:
        raise SettingsError(f"{value} is not a mask value; masks hold 0..{size - 1}")


def to_class_map(mask: LabelMask, table: ValueTable, num_classes: int) -> LabelMask:
    """(H, W): class indices 0 … C - 1, C = ignore, C + 1 = no class; uint8 where that fits."""
    if num_classes + 1 <= 255:
        return table.astype(np.uint8).take(mask)
    return table.take(mask)


def count_pair(
    truth: LabelMask,
    prediction: LabelMask,
    num_classes: int,
    *,
    truth_table: ValueTable | None = None,
    prediction_table: ValueTable | None = None,
) -> PairCounts:
    """Count every pixel of a pair once.

    Args:
        truth: (H, W) mask values of the truth.
        prediction: (H, W) mask values of the prediction.
        num_classes: C.
        truth_table: value -> class index; by default 0 … C - 1 are classes, the largest value of
            the dtype (255 or 65535) is ignore, everything else is no class.
        prediction_table: the same for the prediction.

    Raises:
        MaskFailure: the two shapes differ (``size_mismatch``).
    """
    if truth.shape != prediction.shape:
        raise MaskFailure(ErrorCode.SIZE_MISMATCH, size_sentence(truth.shape, prediction.shape))
    tables = (
        _default_table(truth, num_classes) if truth_table is None else truth_table,
        _default_table(prediction, num_classes) if prediction_table is None else prediction_table,
    )
    full = np.zeros((num_classes + 2) ** 2, dtype=np.int64)
    censuses: tuple[dict[int, int], dict[int, int]] = ({}, {})
    if loops := native(truth, prediction):
        masks = (one if one.strides[1] == 1 else one.copy() for one in (truth, prediction))
        loops.add_pixels(*masks, *_narrow(tables), full, num_classes + 2)
        if _has_strange(full, num_classes):
            _add_censuses((truth, prediction), None, tables, num_classes + 1, censuses)
        return PairCounts(_fold(full, num_classes), *censuses)
    flat = truth.ravel(), prediction.ravel()
    for start in range(0, flat[0].size, BAND_PIXELS):
        band = slice(start, start + BAND_PIXELS)
        _count_band(flat[0][band], flat[1][band], tables, full, censuses)
    return PairCounts(_fold(full, num_classes), *censuses)


def count_runs(
    truth: LabelMask,
    prediction: LabelMask,
    lengths: npt.NDArray[np.int64],
    num_classes: int,
    *,
    tables: tuple[ValueTable, ValueTable],
) -> PairCounts:
    """As :func:`count_pair`, of (N,) values of runs and how many pixels each has, 0 or more."""
    full = np.zeros((num_classes + 2) ** 2, dtype=np.int64)
    censuses: tuple[dict[int, int], dict[int, int]] = ({}, {})
    if loops := native(truth, prediction):
        loops.add_counts(truth, prediction, lengths, *_narrow(tables), full, num_classes + 2)
        if _has_strange(full, num_classes):
            _add_censuses((truth, prediction), lengths, tables, num_classes + 1, censuses)
    else:
        _count_values(truth, prediction, lengths, tables, full, censuses)
    return PairCounts(_fold(full, num_classes), *censuses)


def _narrow(tables: tuple[ValueTable, ValueTable]) -> tuple[ValueTable, ValueTable]:
    """What masks of bytes need of them."""
    return tables[0][:256], tables[1][:256]


def _has_strange(full: npt.NDArray[np.int64], num_classes: int) -> bool:
    square = full.reshape(num_classes + 2, -1)
    return bool(square[-1].any() or square[:, -1].any())


def size_sentence(truth: tuple[int, ...], prediction: tuple[int, ...]) -> str:
    """Both sizes as width x height, as people say them."""
    return (
        f"the prediction is {prediction[1]}x{prediction[0]}, the truth {truth[1]}x{truth[0]} "
        "(width x height)"
    )


def nonzero_cells(matrix: ConfusionCounts) -> list[dict[str, int]]:
    """The matrix as a list of its non-zero cells, for a table column."""
    rows, columns = np.nonzero(matrix)
    found = zip(rows.tolist(), columns.tolist(), matrix[rows, columns].tolist(), strict=True)
    return [{"truth": row, "prediction": column, "pixels": pixels} for row, column, pixels in found]


def add_cells(
    matrix: ConfusionCounts,
    truth: npt.NDArray[np.int64],
    prediction: npt.NDArray[np.int64],
    pixels: npt.NDArray[np.int64],
) -> None:
    """Add cells (from any number of pairs) into ``matrix`` in place, exactly, in int64."""
    np.add.at(matrix, (truth, prediction), pixels)


def _default_table(mask: LabelMask, num_classes: int) -> ValueTable:
    bits = 8 * mask.dtype.itemsize
    return value_table(num_classes, ignore=((1 << bits) - 1,), bits=bits)


def _count_band(
    truth: LabelMask,
    prediction: LabelMask,
    tables: tuple[ValueTable, ValueTable],
    full: npt.NDArray[np.int64],
    censuses: tuple[dict[int, int], dict[int, int]],
) -> None:
    _count_values(*_runs(truth, prediction), tables, full, censuses)


def _count_values(
    truth_values: LabelMask,
    prediction_values: LabelMask,
    lengths: npt.NDArray[np.int64] | None,
    tables: tuple[ValueTable, ValueTable],
    full: npt.NDArray[np.int64],
    censuses: tuple[dict[int, int], dict[int, int]],
) -> None:
    side = round(full.size**0.5)
    truth_codes = tables[0].take(truth_values)
    prediction_codes = tables[1].take(prediction_values)
    codes = truth_codes.astype(np.intp) * side + prediction_codes
    full += _weighted_bincount(codes, lengths, full.size)
    if (truth_codes == side - 1).any() or (prediction_codes == side - 1).any():
        _add_censuses((truth_values, prediction_values), lengths, tables, side - 1, censuses)


def _add_censuses(
    sides: tuple[LabelMask, LabelMask],
    lengths: npt.NDArray[np.int64] | None,
    tables: tuple[ValueTable, ValueTable],
    no_class: int,
    censuses: tuple[dict[int, int], dict[int, int]],
) -> None:
    """How often each value occurs that is no class."""
    for values, table, census in zip(sides, tables, censuses, strict=True):
        strange = table.take(values) == no_class
        if strange.any():
            _add_census(census, values[strange], None if lengths is None else lengths[strange])


def _runs(
    truth: LabelMask, prediction: LabelMask
) -> tuple[LabelMask, LabelMask, npt.NDArray[np.int64] | None]:
    """Values at the runs' starts, and the lengths; all values and None where runs are short."""
    changes = np.zeros(-(-truth.size // 8) * 8, dtype=np.bool_)
    inside = changes[: max(0, truth.size - 1)]
    np.not_equal(truth[1:], truth[:-1], out=inside)
    np.logical_or(inside, prediction[1:] != prediction[:-1], out=inside)
    inner = _true_places(changes)
    if inner.size * _SHORT_RUNS > truth.size:
        return truth, prediction, None
    starts = np.zeros(inner.size + 1, dtype=np.int64)
    np.add(inner, 1, out=starts[1:])
    lengths = np.empty_like(starts)
    np.subtract(starts[1:], starts[:-1], out=lengths[:-1])
    lengths[-1] = truth.size - starts[-1]
    return truth[starts], prediction[starts], lengths


def _true_places(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """np.flatnonzero of (8 n,) flags that are mostly False, faster: whole words of eight first."""
    words = flags.view(np.uint64)
    busy = np.flatnonzero(words != 0)
    inner = np.flatnonzero(words[busy].view(np.bool_))
    places: npt.NDArray[np.intp] = (busy[inner >> 3] << 3) + (inner & 7)
    return places


def _weighted_bincount(
    codes: npt.NDArray[np.intp], lengths: npt.NDArray[np.int64] | None, size: int
) -> npt.NDArray[np.int64]:
    if lengths is None:
        return np.bincount(codes, minlength=size)
    # float64 weights are exact to 2**53 pixels
    return np.bincount(codes, weights=lengths, minlength=size).astype(np.int64)


def _add_census(
    census: dict[int, int], values: LabelMask, lengths: npt.NDArray[np.int64] | None
) -> None:
    counts = _weighted_bincount(values.astype(np.intp), lengths, 0)
    for value in np.flatnonzero(counts):
        census[int(value)] = census.get(int(value), 0) + int(counts[value])


def _fold(full: npt.NDArray[np.int64], num_classes: int) -> ConfusionCounts:
    """Out of range joins ignore: (C + 2)² -> (C + 1, C + 1)."""
    matrix = full.reshape(num_classes + 2, num_classes + 2)
    folded = matrix[:-1, :-1].copy()
    folded[-1] += matrix[-1, :-1]
    folded[:, -1] += matrix[:-1, -1]
    folded[-1, -1] += matrix[-1, -1]
    return folded
