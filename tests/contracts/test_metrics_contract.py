"""What every metric of METRICS promises: additive sums, any order of classes, one range."""

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.audit.document import audit_document
from maskmill.pipeline.audit.operator import AuditSettings
from maskmill.pipeline.audit.report.page import audit_page
from maskmill.pipeline.audit.report.text import document_to_markdown, shown_metrics
from maskmill.pipeline.audit.tally import AuditTally
from maskmill.pipeline.metrics import definitions
from maskmill.pipeline.metrics.confusion import count_pair
from maskmill.pipeline.metrics.metric import Metric
from maskmill.pipeline.metrics.registry import METRICS, metric_of
from maskmill.pipeline.metrics.thresholds import missed_thresholds, parse_thresholds
from maskmill.pipeline.metrics.totals import (
    CONFIDENCE_LEVELS,
    TotalsLayout,
    add_boundary,
    add_confidence,
    matrix_to_vector,
)
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap
from tests.pipeline.audit.audited import audited

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


def test_scores_lie_in_zero_to_one():
    totals = LAYOUT.split(image_vector(0)[0])
    for name, metric in METRICS.items():
        score = metric.score(totals)
        assert score.shape == () and 0 <= score <= 1, name


def test_sums_add_in_any_order():
    vectors = np.stack([image_vector(seed)[0] for seed in range(6)])
    forwards = LAYOUT.split(vectors.sum(axis=0))
    otherwise = LAYOUT.split(vectors[:2].sum(axis=0) + vectors[:1:-1].sum(axis=0))
    for name, metric in METRICS.items():
        assert metric.score(forwards) == pytest.approx(metric.score(otherwise), abs=1e-12), name


def test_the_order_of_classes_does_not_matter():
    order = np.array([3, 0, 4, 1, 2])
    (plain, layout), (permuted, other) = image_vector(1), image_vector(1, order)
    one, two = layout.split(plain), other.split(permuted)
    for name, metric in METRICS.items():
        assert metric.score(one) == pytest.approx(metric.score(two)), name
        if metric.per_class:
            np.testing.assert_allclose(
                metric.per_class(one), metric.per_class(two)[order], atol=1e-12, err_msg=name
            )


def test_leading_axes_are_independent():
    vectors = np.stack([image_vector(seed)[0] for seed in range(3)])
    for name, metric in METRICS.items():
        together = metric.score(LAYOUT.split(vectors))
        apart = [metric.score(LAYOUT.split(vector)) for vector in vectors]
        assert together.shape == (3,), name
        np.testing.assert_allclose(together, apart, err_msg=name)


def test_a_perfect_prediction_scores_one():
    totals = LAYOUT.split(image_vector(2, right=1.0)[0])
    scores = {name: METRICS[name].score(totals) for name in METRICS if name != "ece"}
    assert scores == dict.fromkeys(scores, 1.0)


def test_a_definition_is_a_sentence_of_its_own():
    for name, metric in METRICS.items():
        assert len(metric.definition) > 20 and metric.title, name
        assert metric.needs in ("pixels", "categories", "boundaries", "confidences"), name
        others = [other.definition for key, other in METRICS.items() if key != name]
        assert metric.definition not in others, name


def test_an_unknown_metric_lists_the_known_ones():
    with pytest.raises(SettingsError, match="boundary_iou"):
        metric_of("f2")


def audited_row(truth, prediction, labels, folder):
    """The AUDIT row of one pair of masks, written as files."""
    paths = folder / "t.png", folder / "p.png"
    for path, mask in zip(paths, (truth, prediction), strict=True):
        Image.fromarray(mask).save(path)
    row = {
        "pair_id": 1, "key": "a", "truth_uri": str(paths[0]), "prediction_uri": str(paths[1]),
    }  # fmt: skip
    return audited([row], AuditSettings(labels=labels))[0]


def truth_in_prediction(totals):
    """(…, C): how much of the truth was found, of what was predicted at all."""
    return definitions.recall(totals) * 0.5


MADE_UP = Metric(
    title="half | recall",
    definition="TP / (TP + FN) / 2, a number that only this test has",
    score=lambda totals: truth_in_prediction(totals).mean(axis=-1),
    per_class=truth_in_prediction,
    shown="console",
)


def test_a_metric_is_its_record_and_one_line(monkeypatch, tmp_path):
    """Registered, it is in the document, every report, on the console and in --fail-under."""
    monkeypatch.setitem(METRICS, "half_recall", MADE_UP)
    labels = LabelMap.from_names("two", ["ground", "cat"])
    tally = AuditTally(labels, 1, resamples=10)
    pair = np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 1, 1, 1]], np.uint8)
    tally.add([audited_row(*pair, labels, tmp_path)])
    document = audit_document(tally, {}, {})
    assert document["metrics"]["half_recall"]["value"] == 0.375
    assert [entry["half_recall"]["value"] for entry in document["classes"]] == [0.25, 0.5]
    text = document_to_markdown(document)
    assert "| half \\| recall | 0.3750" in text and MADE_UP.definition in text
    cat = next(line for line in text.splitlines() if line.startswith("| cat |"))
    assert "| 0.5000 |" in cat
    page = audit_page(document, AuditSettings(labels=labels))
    assert page.count("half | recall") == 3 and MADE_UP.definition in page  # card, column, list
    assert "half_recall" in [one["name"] for one in shown_metrics(document, on_console=True)]
    asked = parse_thresholds("half_recall=0.3,half_recall/cat=0.6", labels)
    assert missed_thresholds(asked, document) == [
        "half_recall/cat is 0.5000, asked was at least 0.6"
    ]
