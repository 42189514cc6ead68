"""Rings of classes: each is mostly predicted as the next, the last as the first."""

import numpy as np

from maskmill.schemas.arrays import ConfusionCounts

MIN_FIT = 0.5  # IoU of every class of a ring with the one it is predicted as


def rings(counts: ConfusionCounts) -> list[tuple[int, ...]]:
    """Rings of "class i is mostly predicted as class j", longer than one.

    Args:
        counts: (C, C) pixels, rows truth, columns prediction.
    """
    favourite = np.where(counts.sum(axis=1) > 0, counts.argmax(axis=1), -1).tolist()
    found, seen = [], set()
    for start in range(len(favourite)):
        path: list[int] = []
        place = start
        while place >= 0 and place not in seen:
            seen.add(place)
            path.append(place)
            place = favourite[place]
        if place in path and len(path[path.index(place) :]) > 1:
            found.append(tuple(path[path.index(place) :]))
    return found


def rings_that_fit(counts: ConfusionCounts) -> list[tuple[int, ...]]:
    """Rings of a single image, which must fit well: there a few pixels are quickly most of a class.

    Each begins with its smallest class.
    """
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)

    def fits(one: int, other: int) -> bool:
        both = counts[one, other]
        return bool(both >= MIN_FIT * (rows[one] + columns[other] - both))

    fitting = [
        ring for ring in rings(counts)
        if all(fits(one, other) for one, other in zip(ring, (*ring[1:], ring[0]), strict=True))
    ]  # fmt: skip
    starts = [ring.index(min(ring)) for ring in fitting]
    return [(*ring[at:], *ring[:at]) for ring, at in zip(fitting, starts, strict=True)]
