"""Connected components of runs of pixels: a run costs the same, however long it is."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.metrics.compiled import native

Integers = npt.NDArray[np.int64]

_CODE, _AREA, _LEFT, _TOP, _RIGHT, _BOTTOM = range(6)


@dataclass(frozen=True, slots=True)
class RunComponents:
    """8-connected components of runs of one code, in the order of their first runs.

    ``numbers`` (N,) are the component of each run, -1 where it is of none; ``codes`` and ``areas``
    (K,) are the components' codes and pixels, ``boxes`` (K, 4) their x, y, width and height.
    """

    numbers: Integers
    codes: Integers
    areas: Integers
    boxes: Integers


def run_components(
    places: Integers, lengths: Integers, codes: Integers, span: int
) -> RunComponents:
    """Components of runs that each lie in one row.

    Args:
        places: (N,) of the first pixels, y * span + x, ascending.
        lengths: (N,) pixels.
        codes: (N,) what a run is; below 0 where it is of no component, as one without pixels.
        span: from a row to the next; more than any x.
    """
    places, lengths, codes = (
        np.ascontiguousarray(one, dtype=np.int64) for one in (places, lengths, codes)
    )
    numbers = np.full(len(places), -1, dtype=np.int64)
    table = np.empty((len(places), 6), dtype=np.int64)
    if loops := native():
        table = table[: loops.components(places, lengths, codes, numbers, table, span)]
    else:
        kept = np.flatnonzero(codes >= 0)
        kept = kept[np.argsort(codes[kept], kind="stable")]
        numbers[kept] = _numbers(places[kept], lengths[kept], codes[kept], span, kept)
        table = _measured(places[kept], lengths[kept], codes[kept], span, numbers[kept])
    boxes = table[:, _LEFT : _BOTTOM + 1].copy()
    boxes[:, 2:] -= boxes[:, :2]
    return RunComponents(numbers, table[:, _CODE], table[:, _AREA], boxes)


def _numbers(
    places: Integers, lengths: Integers, codes: Integers, span: int, order: Integers
) -> Integers:
    """(N,) components of runs that are sorted by their codes; ``order`` says where they were."""
    apart = places.max(initial=0) + lengths.max(initial=0) + 2 * span  # so codes never touch
    begins = places + codes * apart
    stops = begins + lengths
    beside = np.flatnonzero(begins[1:] == stops[:-1])
    first, second = _touching(begins, stops, span)
    roots = _roots(np.append(first, beside), np.append(second, beside + 1), len(places))
    components = np.flatnonzero(roots == np.arange(len(roots)))
    components = components[np.argsort(order[components])]
    numbers = np.empty(len(roots), dtype=np.int64)
    numbers[components] = np.arange(len(components))
    return numbers[roots]


def _touching(begins: Integers, stops: Integers, span: int) -> tuple[Integers, Integers]:
    """Numbers of the runs that touch one in the next row, corners included, and of those."""
    first_below = np.searchsorted(stops, begins + span, side="left")
    last_below = np.searchsorted(begins, stops + span, side="right")
    counts = np.maximum(last_below - first_below, 0)
    first = np.repeat(np.arange(len(begins)), counts)
    nth = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    return first, first_below[first] + nth


def _roots(first: Integers, second: Integers, count: int) -> Integers:
    """(count,) the smallest number that each is connected with, given which pairs touch."""
    roots = np.arange(count)
    while True:
        one, other = roots[first], roots[second]
        apart = one != other
        if not apart.any():
            return roots
        np.minimum.at(roots, np.maximum(one, other)[apart], np.minimum(one, other)[apart])
        while (nearer := roots[roots]).tobytes() != roots.tobytes():
            roots = nearer


def _measured(
    places: Integers, lengths: Integers, codes: Integers, span: int, numbers: Integers
) -> Integers:
    """(K, 6): code, area, left, top, right and bottom of each component."""
    rows, columns = np.divmod(places, span)
    table = np.zeros((int(numbers.max(initial=-1)) + 1, 6), dtype=np.int64)
    table[:, _LEFT] = table[:, _TOP] = np.iinfo(np.int64).max
    table[numbers, _CODE] = codes
    np.add.at(table[:, _AREA], numbers, lengths)
    np.minimum.at(table[:, _LEFT], numbers, columns)
    np.minimum.at(table[:, _TOP], numbers, rows)
    np.maximum.at(table[:, _RIGHT], numbers, columns + lengths)
    np.maximum.at(table[:, _BOTTOM], numbers, rows + 1)
    return table
