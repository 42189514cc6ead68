"""Two audits: the change is the difference of the two, and chance is told from improvement."""

from hashlib import sha256

import numpy as np
import pytest

from maskmill.pipeline.audit.comparison import compare_audits
from maskmill.pipeline.metrics.confusion import count_pair, nonzero_cells
from maskmill.pipeline.metrics.definitions import miou
from maskmill.pipeline.metrics.totals import TotalsLayout, matrix_to_vector
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap

LABELS = LabelMap.from_names("three", ["ground", "cat", "dog"])


def rows(error, count=40, seed=0, keys=None):
    """AUDIT rows of ``count`` pictures, with that share of wrong pixels."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        key = keys[number] if keys else f"{number:03}"
        truth = np.random.default_rng(list(key.encode())).integers(0, 3, (20, 20)).astype(np.uint8)
        wrong = rng.random(truth.shape) < error * rng.uniform(0.5, 1.5)
        prediction = np.where(wrong, (truth + 1) % 3, truth).astype(np.uint8)
        cells = nonzero_cells(count_pair(truth, prediction, 3).matrix)
        made.append({
            "key": key, "status": "ok", "cells": cells,
            "classes": [], "trimap": None, "levels": None, "miou": 1 - float(wrong.mean()),
            "truth_sha256": sha256(truth).hexdigest(),
        })  # fmt: skip
    return made


def document(made, labels=LABELS):
    return {"labels": labels.to_dict(), "ledger": {"ok": len(made)}}


def compare(before, after, **options):
    def source(made):
        return lambda columns: ({name: row[name] for name in columns} for row in made)

    return compare_audits(
        document(before), document(after), source(before), source(after), resamples=300, **options
    )


def dataset_miou(made):
    matrix = np.zeros((4, 4), np.int64)
    for row in made:
        for cell in row["cells"]:
            matrix[cell["truth"], cell["prediction"]] += cell["pixels"]
    layout = TotalsLayout.of(LABELS)
    return float(miou(layout.split(matrix_to_vector(matrix, layout))))


def test_an_improvement_is_significant():
    before, after = rows(0.3), rows(0.2, seed=1)
    moved = compare(before, after)["metrics"]["miou"]
    assert moved["before"] == pytest.approx(dataset_miou(before))
    assert moved["after"] == pytest.approx(dataset_miou(after))
    assert moved["change"] == pytest.approx(moved["after"] - moved["before"])
    assert 0 < moved["low"] <= moved["change"] <= moved["high"]
    assert moved["significant"] and moved["p"] <= 0.01


def test_the_same_audit_has_not_moved():
    made = rows(0.3)
    compared = compare(made, made)
    for metric in compared["metrics"].values():
        assert metric["change"] in (0.0, None) and not metric["significant"]
    assert compared["metrics"]["ece"]["p"] is None


def test_noise_is_seldom_significant():
    hits = sum(
        compare(rows(0.3, seed=2 * trial), rows(0.3, seed=2 * trial + 1), seed=trial)["metrics"]
        ["miou"]["significant"]
        for trial in range(40)
    )  # fmt: skip
    assert hits <= 7  # 5 % of 40 is 2


def test_only_pictures_of_both_are_compared():
    before = rows(0.3, 10)
    after = rows(0.2, 8, keys=[f"{number:03}" for number in range(4, 12)])
    after[0]["status"] = "failed"
    pictures = compare(before, after)["pictures"]
    assert pictures == {"common": 5, "before": 10, "after": 8}


def test_another_truth_is_refused_or_left_out():
    before, after = rows(0.3, 10), rows(0.2, 10, seed=1)
    for place in (2, 7):
        after[place]["truth_sha256"] = "another"
    with pytest.raises(SettingsError, match=r"differ in 2 of the 10 .*002, 007.*--common"):
        compare(before, after)
    moved = compare(before, after, common=True)
    assert (moved["pictures"]["common"], moved["other_truth"]) == (8, 2)
    assert moved["truths"] == {"by_class_map": 8, "by_class_pixels": 0}
    kept = [row for row in after if row["truth_sha256"] != "another"]
    assert moved["metrics"]["miou"]["after"] == pytest.approx(dataset_miou(kept))


def test_audits_that_only_counted_are_told_apart_by_the_pixels_of_their_truths():
    before, after = rows(0.3, 6), rows(0.2, 6, seed=1)
    for row in after:
        row["truth_sha256"] = None
    moved = compare(before, after)
    assert moved["other_truth"] == 0
    assert moved["truths"] == {"by_class_map": 0, "by_class_pixels": 6}
    after[3]["cells"] = [{"truth": 0, "prediction": 0, "pixels": 400}]
    with pytest.raises(SettingsError, match="differ in 1 of the 6"):
        compare(before, after)


def test_the_pictures_that_moved_most_are_named():
    before, after = rows(0.3, 60), rows(0.3, 60, seed=1)
    before[11]["miou"], after[11]["miou"] = 0.0, 1.0
    before[42]["miou"], after[42]["miou"] = 1.0, 0.0
    after[5]["miou"] = None  # no class in it
    changes = {
        old["key"]: new["miou"] - old["miou"]
        for old, new in zip(before, after, strict=True) if new["miou"] is not None
    }  # fmt: skip
    moved = compare(before, after)
    for direction, sign in (("better", -1), ("worse", 1)):
        expected = sorted((key for key in changes if sign * changes[key] < 0),
                          key=lambda key: sign * changes[key])  # fmt: skip
        assert [one["key"] for one in moved[direction]] == expected[:20]
    assert moved["better"][0]["key"] == "011" and moved["worse"][0]["key"] == "042"


def test_classes_are_ordered_by_their_change():
    before, after = rows(0.3), rows(0.1, seed=1)
    changes = [abs(row["change"]) for row in compare(before, after)["classes"]]
    assert changes == sorted(changes, reverse=True) and len(changes) == 3


def test_what_cannot_be_compared():
    made = rows(0.3, 3)
    with pytest.raises(SettingsError, match="no picture in common"):
        compare(made, rows(0.3, 3, keys=["x", "y", "z"]))
    other = document(made, LabelMap.from_names("other", ["a", "b", "c"]))
    with pytest.raises(SettingsError, match="different classes"):
        compare_audits(document(made), other, lambda _: [], lambda _: [])
