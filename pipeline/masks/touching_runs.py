"""Which runs touch across neighbouring lines, and the connected components they make."""

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def touching_runs(
    lines: Indices, starts: Indices, lengths: Indices, span: int
) -> tuple[Indices, Indices]:
    """Numbers of the runs that touch one in the next line, corners included, and of those.

    Args:
        lines: (N,) the line of each run, ascending.
        starts: (N,) where in its line it begins, ascending within a line.
        lengths: (N,) at least 1.
        span: the length of a line.
    """
    step = span + 2  # so that lines keep apart
    begins = lines * step + starts
    stops = begins + lengths
    first_below = np.searchsorted(stops, begins + step, side="left")
    last_below = np.searchsorted(begins, stops + step, side="right")
    counts = np.maximum(last_below - first_below, 0)
    first = np.repeat(np.arange(len(begins)), counts)
    nth = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    return first, first_below[first] + nth


def components_of(first: Indices, second: Indices, count: int) -> Indices:
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
