"""Curves as SVG: points in a box of 320 x 140, and what its sides stand for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

WIDTH, HEIGHT = 320, 140
MOST_POINTS: Final = 160
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: its name, its colour as CSS has it, and ``x,y x,y …`` in the box."""

    name: str
    color: str
    points: str


@dataclass(frozen=True, slots=True)
class Plot:
    """Curves over one axis. ``low`` and ``high`` are the values at the bottom and the top."""

    title: str
    lines: tuple[Line, ...]
    first: float
    last: float
    low: float
    high: float
    mark: float | None = None  # x in the box of a vertical line


def plot(
    title: str,
    curves: Mapping[str, Sequence[Point]],
    *,
    colors: Mapping[str, str] | None = None,
    bounds: tuple[float, float] | None = None,
    mark: float | None = None,
) -> Plot | None:
    """A plot of curves by name; None where there is no point to draw.

    Args:
        title: what it is headed by.
        curves: (x, y) in order of x; many points become the means of neighbours.
        colors: CSS colours of curves; those without one have the page's.
        bounds: of y; the curves' own where they are not given.
        mark: the x of a vertical line.
    """
    drawn = {name: thinned(points) for name, points in curves.items()}
    xs = [x for points in curves.values() for x, _ in points]
    ys = [y for points in drawn.values() for _, y in points]
    if not ys:
        return None
    first, last = min(xs), max(xs)
    low, high = bounds or (min(ys), max(ys))
    lines = tuple(
        Line(
            name,
            (colors or {}).get(name, "var(--mark)"),
            " ".join(
                f"{_along(x, first, last) * WIDTH:.1f},{HEIGHT - _along(y, low, high) * HEIGHT:.1f}"
                for x, y in points
            ),
        )
        for name, points in drawn.items()
        if points
    )
    place = None if mark is None else _along(mark, first, last) * WIDTH
    return Plot(title, lines, first, last, low, high, place)


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most ``most`` points: the means of as many neighbours; what is no number is left out."""
    known = [(x, y) for x, y in points if math.isfinite(y)]
    size = -(-len(known) // most)
    groups = [known[start : start + size] for start in range(0, len(known), size or 1)]
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]


def _along(value: float, low: float, high: float) -> float:
    """Where a value lies between two others, 0 to 1; the middle where they are the same."""
    return (value - low) / (high - low) if high > low else 0.5
