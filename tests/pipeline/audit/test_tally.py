"""Adding up rows: any grouping gives the same sums, shortlists keep the right few."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.audit.document import audit_document
from maskmill.pipeline.audit.pair import Measures, audit_masks
from maskmill.pipeline.audit.pair_masks import ValueTables
from maskmill.pipeline.audit.tally import AuditTally, Shortlist
from maskmill.pipeline.metrics.confusion import value_table
from maskmill.schemas.labels import LabelMap
from maskmill.schemas.tables.audit import AUDIT

LABELS = LabelMap.from_names("three", ["ground", "cat", "dog"])


def rows(count):
    table = value_table(3, ignore=[255], bits=8)
    made = []
    for number in range(1, count + 1):
        rng = np.random.default_rng(number)
        truth = np.kron(rng.integers(0, 3, (4, 5)), np.ones((8, 8), int)).astype(np.uint8)
        wrong = rng.random(truth.shape) < 0.02 * number
        prediction = np.where(wrong, rng.integers(0, 3, truth.shape), truth).astype(np.uint8)
        measured = audit_masks(
            truth, prediction, LABELS.names, tables=ValueTables(table, table),
            measures=Measures(), read_confidence=lambda: None,
        )  # fmt: skip
        made.append({
            **dict.fromkeys(AUDIT.names), "pair_id": number, "key": f"{number:03}", "status": "ok",
            "prediction_kind": "p", "truth_kind": "t", **measured,
        })  # fmt: skip
    return made


def test_any_grouping_gives_the_same_document():
    made = rows(13)
    documents = []
    for size in (1, 5, 13):
        tally = AuditTally(LABELS, len(made), resamples=50)
        for start in range(0, len(made), size):
            tally.add(made[start : start + size])
        documents.append(audit_document(tally, {}, {}))
    for document in documents[1:]:
        for name, metric in documents[0]["metrics"].items():
            other = document["metrics"][name]
            for key in ("value", "low", "high"):
                assert other[key] == pytest.approx(metric[key], abs=1e-12)
        for key in ("confusion_matrix", "trimap", "largest_regions", "worst_images", "pixels"):
            assert document[key] == documents[0][key]


def test_per_image_numbers_add_up_to_the_datasets():
    made = rows(6)
    tally = AuditTally(LABELS, 6, resamples=20)
    tally.add(made)
    metrics = audit_document(tally, {}, {})["metrics"]
    assert metrics["miou_per_image"]["value"] == pytest.approx(np.mean([r["miou"] for r in made]))
    ious = [score["iou"] for row in made for score in row["classes"]]
    assert metrics["miou_image_class"]["value"] == pytest.approx(np.mean(ious))
    assert tally.matrix.sum() == sum(row["pixels"] for row in made)


def test_more_than_two_to_the_31_pixels_are_exact_from_the_rows_to_the_document():
    """As many merged pairs as no test can hold: every cell of every row a large, odd number."""
    factor = 2**40 + 1
    made = rows(3)
    expected = np.zeros((4, 4), dtype=object)
    for row in made:
        for cell in row["cells"]:
            cell["pixels"] *= factor
            expected[cell["truth"], cell["prediction"]] += cell["pixels"]
        row["pixels"] *= factor
    tally = AuditTally(LABELS, 3, resamples=20)
    tally.add(made)
    document = audit_document(tally, {}, {})
    assert document["confusion_matrix"] == expected.tolist()
    assert document["pixels"]["all"] == 3 * 32 * 40 * factor > 2**51
    right = sum(int(expected[index, index]) for index in range(3))
    accuracy = document["metrics"]["pixel_accuracy"]["value"]
    assert accuracy == pytest.approx(right / (3 * 32 * 40 * factor), abs=1e-15)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 100)), unique_by=lambda one: one[1]))
def test_a_shortlist_is_the_head_of_the_sorted_list(entries):
    shortlist = Shortlist(4, lambda row: row["rank"])
    for rank, pair_id in entries:
        shortlist.offer({"rank": rank, "pair_id": pair_id})
    kept = [(row["rank"], row["pair_id"]) for row in shortlist.rows()]
    assert kept == sorted(entries)[:4]


def test_a_picture_with_two_findings_of_a_check_is_one_file():
    made = rows(3)
    for row in made:
        row["findings"] = []
    made[1]["findings"] = [
        {"check": "island", "index": index, "count": index, "message": ""} for index in (1, 2)
    ]
    tally = AuditTally(LABELS, 3, resamples=20)
    tally.add(made)
    findings = audit_document(tally, {}, {})["truth_findings"]
    assert findings["by_check"]["island"]["files"] == 1
    assert findings["by_check"]["island"]["examples"] == ["002"]
    assert len(findings["first"]) == 2
