"""What each strategy promises of the images it chooses."""

from itertools import islice

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.jobs.select import STRATEGY_NAMES
from maskmill.pipeline.selection.candidates import Candidates
from maskmill.pipeline.selection.strategies import STRATEGIES


def candidates(seed: int, count: int = 40, known: tuple[int, ...] = (), **changes) -> Candidates:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 5)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    seen = np.isin(np.arange(count), known)
    values = {
        "table": pa.table({"mean_entropy": rng.random(count)}),
        "known": seen,
        "closed": seen,
        "classes": (rng.random((count, 4)) < [0.9, 0.4, 0.1, 0.03]) | np.eye(count, 4, dtype=bool),
        "names": ("road", "car", "dog", "boat"),
        "features": features,
    }
    return Candidates(**{**values, **changes})


def places(images: Candidates, strategy: str, count: int = 1000) -> list[int]:
    return [pick.place for pick in islice(STRATEGIES[strategy](images), count)]


def test_the_command_offers_what_there_is():
    assert set(STRATEGY_NAMES) == set(STRATEGIES)


@settings(max_examples=20)
@given(st.sampled_from(sorted(STRATEGIES)), st.integers(0, 99), st.sets(st.integers(0, 39)))
def test_every_open_image_comes_once_and_no_known_one(strategy, seed, known):
    chosen = places(candidates(seed, known=tuple(known)), strategy)
    assert sorted(chosen) == sorted(set(range(40)) - known)


@settings(max_examples=20)
@given(st.integers(0, 99), st.sets(st.integers(0, 39), min_size=1, max_size=9))
def test_diverse_takes_the_farthest_from_all_before_it(seed, known):
    """Against the definition, with every distance computed anew."""
    images = candidates(seed, known=tuple(known))
    covered = sorted(known)
    for pick in islice(STRATEGIES["diverse"](images), 12):
        apart = 1 - (images.features @ images.features[covered].T).max(axis=1)
        apart[covered] = -1
        assert pick.distance == pytest.approx(apart[pick.place], abs=1e-5)
        assert pick.distance == pytest.approx(apart.max(), abs=1e-5)
        covered.append(pick.place)


def test_greedy_k_centre_is_within_twice_the_best_radius():
    """Gonzalez's bound, against every choice of three centres of eleven points (angles)."""
    from itertools import combinations

    for seed in range(5):
        images = candidates(seed, count=11)
        angles = np.arccos(np.clip(images.features @ images.features.T, -1, 1))
        radius = angles[places(images, "diverse", 3)].min(axis=0).max()
        best = min(angles[list(some)].min(axis=0).max() for some in combinations(range(11), 3))
        assert radius <= 2 * best + 1e-5


def test_uncertain_is_the_order_of_mean_entropy():
    images = candidates(3, known=(4, 5))
    order = [place for place in np.argsort(-images.entropies) if place not in (4, 5)]
    assert places(images, "uncertain") == order


def test_rare_covers_every_class_before_it_takes_one_twice():
    classes = np.zeros((40, 4), bool)
    classes[:30, 0] = classes[10:16, 1] = classes[20:23, 2] = classes[35, 3] = True
    images = candidates(1, classes=classes)
    first = places(images, "rare", 3)
    assert classes[first].sum(axis=0).tolist()[1:] == [1, 1, 1]
    again = places(candidates(1, classes=classes, known=(35, 20)), "rare", 1)
    assert classes[again, 1].all()  # of what is not known yet, the rarest


def test_mixed_prefers_what_is_uncertain_and_unlike_what_is_chosen():
    features = np.repeat(np.eye(4, 5, dtype=np.float32), 10, axis=0)  # four scenes of ten copies
    images = candidates(7, features=features, classes=np.zeros((40, 0), bool), names=())
    first = places(images, "mixed", 4)
    assert sorted(place // 10 for place in first) == [0, 1, 2, 3]
    for place in first:
        scene = slice(place // 10 * 10, place // 10 * 10 + 10)
        assert images.entropies[place] == images.entropies[scene].max()


def test_what_is_closed_is_not_chosen_but_covers_nothing():
    """Copies of an image are closed; the image itself is as worth choosing as before."""
    images = candidates(2, count=4)
    closed = np.array([False, True, False, False])
    again = candidates(2, count=4, closed=closed)
    expected = [place for place in places(images, "uncertain") if place != 1]
    assert places(again, "uncertain") == expected
    assert sorted(places(again, "diverse")) == [0, 2, 3]
