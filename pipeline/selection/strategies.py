"""STRATEGIES of select: in which order images are worth sending to annotators."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.selection.candidates import Candidates
from maskmill.pipeline.selection.scores import standing

RARITY_WEIGHT = 0.5
"""Of rare classes beside uncertainty, as `rank` has it."""

_KNOWN_AT_ONCE = 512


class Pick(NamedTuple):
    """Image number ``place``, what the strategy saw in it, its distance to the nearest chosen."""

    place: int
    gain: float
    distance: float | None


def by_uncertainty(images: Candidates) -> Iterator[Pick]:
    """The largest mean entropy first; ties by image_id."""
    places = standing(images.entropies)
    for place in np.argsort(-places, kind="stable").tolist():
        if not images.closed[place]:
            yield Pick(place, float(places[place]), None)


def by_rarity(images: Candidates) -> Iterator[Pick]:
    """Greedily what adds most of rare classes that few chosen images have.

    An image's gain is the sum over its classes of rarity / (1 + chosen and known images that have
    it); ties go to the more uncertain.
    """
    weights = images.rarities()
    covered = images.classes[images.known].sum(axis=0).astype(np.float64)
    worth = weights / (1 + covered)
    gains = images.classes @ worth
    gains[images.closed] = -np.inf
    order = np.argsort(-images.entropies, kind="stable")
    for _ in range(int((~images.closed).sum())):
        place = int(order[np.argmax(gains[order])])
        yield Pick(place, float(gains[place]), None)
        gains[place] = -np.inf
        for column in np.flatnonzero(images.classes[place]).tolist():
            before, covered[column] = worth[column], covered[column] + 1
            worth[column] = weights[column] / (1 + covered[column])
            gains[images.classes[:, column]] += worth[column] - before


def by_distance(images: Candidates) -> Iterator[Pick]:
    """Greedy k-centre: each is the farthest from all that are chosen or known.

    T. F. Gonzalez, "Clustering to minimize the maximum intercluster distance" (1985); for choosing
    what to label: O. Sener and S. Savarese, "Active Learning for Convolutional Neural Networks: A
    Core-Set Approach" (ICLR 2018), algorithm 1. The first, where nothing is known, is the image
    nearest to the mean.
    """
    features = _features_of(images)
    nearness = features @ features.mean(axis=0)
    yield from _farthest(images, np.ones(len(images)), first=nearness)


def by_distance_and_need(images: Candidates) -> Iterator[Pick]:
    """k-centre with distances multiplied by what `rank` orders by: uncertainty and rare classes.

    So an image is chosen that the network is unsure of, unless one like it was chosen before.
    """
    weights = images.rarities()
    rarest = (images.classes * weights).max(axis=1, initial=0.0)
    need = standing(images.entropies) + RARITY_WEIGHT * rarest
    yield from _farthest(images, need, first=need)


STRATEGIES: dict[str, Callable[[Candidates], Iterator[Pick]]] = {
    "uncertain": by_uncertainty,
    "diverse": by_distance,
    "mixed": by_distance_and_need,
    "rare": by_rarity,
}
"""Name -> the images that are not known, best first; read no further than is needed."""

COMPARING = ("diverse", "mixed")
"""Those that need features."""


def _farthest(
    images: Candidates, need: npt.NDArray[np.float64], *, first: npt.NDArray[np.float64]
) -> Iterator[Pick]:
    """By distance times ``need``; ``first`` says where to begin when nothing is known."""
    features = _features_of(images)
    nearest = _cosine_to_known(features, images.known)
    open_ = ~images.closed
    for number in range(int(open_.sum())):
        distance = np.clip(1.0 - nearest, 0.0, 2.0)
        gain = distance * need if number or images.known.any() else first
        # Once all is covered, copies are left: then the most needed of them.
        gain = need if number and not gain[open_].any() else gain
        place = int(np.argmax(np.where(open_, gain, -np.inf)))
        has_others = bool(number or images.known.any())
        yield Pick(place, float(gain[place]), float(distance[place]) if has_others else None)
        open_[place] = False
        np.maximum(nearest, features @ features[place], out=nearest)


def _cosine_to_known(
    features: npt.NDArray[np.float32], known: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    nearest = np.full(len(features), -1.0, np.float32)
    places = np.flatnonzero(known)
    for first in range(0, len(places), _KNOWN_AT_ONCE):
        some = features[places[first : first + _KNOWN_AT_ONCE]]
        for start in range(0, len(features), 8192):  # small products: memory stays small
            part = slice(start, start + 8192)
            np.maximum(nearest[part], (features[part] @ some.T).max(axis=1), out=nearest[part])
    return nearest


def _features_of(images: Candidates) -> npt.NDArray[np.float32]:
    if images.features is None:
        raise ValueError("this strategy needs features")
    return images.features
