"""What every metric of METRICS promises: additive sums, any order of classes, one range."""

from pathlib import Path

import numpy as np
import pytest

from maskmill.pipeline.metrics.confusion import count_pair
from maskmill.pipeline.metrics.registry import METRICS, metric_of
from maskmill.pipeline.metrics.totals import (
    CONFIDENCE_LEVELS,
    TotalsLayout,
    add_boundary,
    add_confidence,
    matrix_to_vector,
)
from maskmill.schemas.errors import SettingsError

CLASSES = 5
LAYOUT = TotalsLayout(CLASSES, ("a", "b", "a", "c", "c"))


def image_vector(seed, order=None, right=0.6):
    rng = np.random.default_rng(seed)
    order = np.arange(CLASSES) if order is None else order
    truth = rng.integers(0, CLASSES - 1, (20, 30))  # the last class is absent from the truth
    prediction = np.where(
        rng.random(truth.shape) < right, truth, rng.integers(0, CLASSES, truth.shape)
    )
    masks = order[truth].astype(np.uint8), order[prediction].astype(np.uint8)
    categories = tuple(np.array(LAYOUT.categories)[np.argsort(order)])
    layout = TotalsLayout(CLASSES, categories)
    vector = matrix_to_vector(count_pair(*masks, CLASSES).matrix, layout)
    union = rng.integers(50, 100, CLASSES)
    hits = (union * right).astype(np.int64)
    back = np.argsort(order)
    add_boundary(vector, layout, (hits[back], union[back]), (hits[back], union[back]))
    pixels = rng.integers(1, 50, CONFIDENCE_LEVELS).astype(float)
    middle = (np.arange(CONFIDENCE_LEVELS) + 0.5) / CONFIDENCE_LEVELS
    add_confidence(vector, layout, np.stack([pixels, pixels * right, pixels * middle]))
    return vector, layout


@pytest.mark.parametrize("name", METRICS)
def test_scores_lie_in_zero_to_one(name):
    score = METRICS[name].score(LAYOUT.split(image_vector(0)[0]))
    assert score.shape == () and 0 <= score <= 1


@pytest.mark.parametrize("name", METRICS)
def test_sums_add_in_any_order(name):
    vectors = np.stack([image_vector(seed)[0] for seed in range(6)])
    one = METRICS[name].score(LAYOUT.split(vectors.sum(axis=0)))
    other = METRICS[name].score(LAYOUT.split(vectors[:2].sum(axis=0) + vectors[:1:-1].sum(axis=0)))
    assert one == pytest.approx(other, abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_the_order_of_classes_does_not_matter(name):
    order = np.array([3, 0, 4, 1, 2])
    plain, layout = image_vector(1)
    permuted, other = image_vector(1, order)
    metric = METRICS[name]
    assert metric.score(layout.split(plain)) == pytest.approx(metric.score(other.split(permuted)))
    if metric.per_class:
        values = metric.per_class(layout.split(plain)), metric.per_class(other.split(permuted))
        np.testing.assert_allclose(values[0], values[1][order], atol=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_leading_axes_are_independent(name):
    vectors = np.stack([image_vector(seed)[0] for seed in range(3)])
    together = METRICS[name].score(LAYOUT.split(vectors))
    apart = [METRICS[name].score(LAYOUT.split(vector)) for vector in vectors]
    np.testing.assert_allclose(together, apart)
    assert together.shape == (3,)


@pytest.mark.parametrize("name", [name for name in METRICS if name != "ece"])
def test_a_perfect_prediction_scores_one(name):
    assert METRICS[name].score(LAYOUT.split(image_vector(2, right=1.0)[0])) == 1.0


@pytest.mark.parametrize("name", METRICS)
def test_a_definition_is_a_sentence_of_its_own(name):
    metric = METRICS[name]
    assert len(metric.definition) > 20 and metric.title
    assert metric.needs in ("pixels", "categories", "boundaries", "confidences")
    others = [other.definition for key, other in METRICS.items() if key != name]
    assert metric.definition not in others


def test_an_unknown_metric_lists_the_known_ones():
    with pytest.raises(SettingsError, match="boundary_iou"):
        metric_of("f2")


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_in_the_manual(name):
    manual = Path(__file__).resolve().parents[2] / "docs" / "audit.md"
    assert f"`{name}`" in manual.read_text(encoding="utf-8")
