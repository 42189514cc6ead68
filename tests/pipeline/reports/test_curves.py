"""Curves: where points come to lie."""

import math

import numpy as np

from maskmill.pipeline.reports.curves import HEIGHT, MOST_POINTS, WIDTH, plot, thinned


def test_points_lie_between_the_sides() -> None:
    drawn = plot("loss", {"loss": [(1.0, 2.0), (2.0, 1.0), (3.0, 0.0)]}, bounds=(0.0, 4.0), mark=2)
    assert (
        drawn.lines[0].points
        == f"0.0,{HEIGHT / 2} {WIDTH / 2},{HEIGHT * 3 / 4} {WIDTH}.0,{HEIGHT}.0"
    )
    assert (drawn.first, drawn.last, drawn.low, drawn.high) == (1, 3, 0, 4)
    assert drawn.mark == WIDTH / 2


def test_one_point_and_none() -> None:
    assert plot("rate", {"rate": [(1.0, 0.5)]}).lines[0].points == f"{WIDTH / 2},{HEIGHT / 2}"
    assert plot("rate", {"rate": []}) is None and plot("rate", {}) is None


def test_many_points_are_the_means_of_neighbours() -> None:
    steps = np.arange(1, 8001, dtype=float)
    found = thinned(list(zip(steps, steps * 3, strict=True)))
    assert len(found) <= MOST_POINTS
    assert found[0] == (25.5, 76.5)  # 50 neighbours
    assert np.mean([y for _, y in found]) == 3 * steps.mean()


def test_what_is_no_number_is_left_out() -> None:
    assert thinned([(1.0, math.nan), (2.0, 1.0), (3.0, math.inf)]) == [(2.0, 1.0)]
