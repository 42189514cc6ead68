"""The bootstrap: seeded, multinomial, covering, and honest about what it cannot know."""

import numpy as np
import pytest

from maskmill.pipeline.metrics.intervals import Bootstrap, Interval, interval_of, two_sided_p


def resample(vectors, groups, **options):
    bootstrap = Bootstrap(len(vectors), vectors.shape[1], **options)
    for group in np.array_split(vectors, groups):
        bootstrap.feed(group)
    return bootstrap.sums()


def test_the_same_seed_gives_the_same_resamples_in_any_grouping():
    vectors = np.random.default_rng(0).integers(0, 1000, (30, 4)).astype(float)
    one = resample(vectors, 1, seed=5)
    np.testing.assert_array_equal(one, resample(vectors, 7, seed=5))
    assert (one != resample(vectors, 1, seed=6)).any()


def test_every_resample_draws_exactly_as_many_images():
    sums = resample(np.ones((17, 1)), 3, resamples=200)
    assert (sums == 17).all()


def test_weights_have_the_moments_of_a_multinomial():
    """n = 5 places: mean 1, variance 1 - 1/n, covariance -1/n."""
    draws = resample(np.eye(5), 2, resamples=40_000)
    np.testing.assert_allclose(draws.mean(axis=0), 1, atol=0.03)
    expected = np.full((5, 5), -0.2) + np.eye(5)
    np.testing.assert_allclose(np.cov(draws.T), expected, atol=0.04)


def test_intervals_match_the_normal_approximation():
    values = np.random.default_rng(1).normal(3, 2, 400)
    sums = resample(np.stack([values, np.ones(400)], axis=1), 4, resamples=4000)
    interval = interval_of(sums[:, 0] / sums[:, 1])
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)


def test_intervals_cover_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        values = rng.binomial(10, 0.7, 60).astype(float)[:, None]
        interval = interval_of(resample(values, 1, resamples=300, seed=trial)[:, 0] / 600)
        covered += interval.low <= 0.7 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_one_image_has_no_spread_and_no_image_no_interval():
    assert interval_of(resample(np.array([[3.0]]), 1)[:, 0]) == Interval(3.0, 3.0)
    assert interval_of(np.full(10, np.nan)) == Interval(None, None)
    assert Bootstrap(0, 2).sums().sum() == 0


def test_feeding_too_many_or_too_few_is_a_mistake():
    bootstrap = Bootstrap(2, 1)
    with pytest.raises(ValueError, match="2 images are still"):
        bootstrap.sums()
    with pytest.raises(ValueError, match="more images"):
        bootstrap.feed(np.ones((3, 1)))


@pytest.mark.parametrize("differences, expected", [
    (np.arange(1, 101), 1 / 100),            # always better: no smaller than 1 / R
    (np.arange(-50, 50), 1.0),               # as often better as worse
    (np.arange(-10, 90), 2 * 11 / 100),      # 10 worse and one equal of 100
    (np.array([np.nan, np.nan]), None),      # nothing to compare
    (np.zeros(50), 1.0),                     # no difference at all
])  # fmt: skip
def test_p_values(differences, expected):
    assert two_sided_p(differences.astype(float)) == expected
