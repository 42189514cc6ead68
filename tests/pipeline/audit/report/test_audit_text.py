"""JSON that others can compute from, Markdown that says the same."""

import json

import numpy as np
from markdown_it import MarkdownIt

from maskmill.pipeline.audit.report.text import (
    document_to_json,
    document_to_markdown,
    with_interval,
)
from maskmill.pipeline.metrics import definitions
from maskmill.pipeline.metrics.registry import METRICS
from maskmill.pipeline.metrics.totals import TotalsLayout, matrix_to_vector


def test_json_round_trip(audited):
    document, _ = audited
    text = document_to_json(document)
    assert json.loads(text) == json.loads(json.dumps(document))
    assert text == document_to_json(json.loads(text))
    assert "NaN" not in text
    for row in document["confusion_matrix"]:  # a line per row, as integers
        assert json.dumps(row, separators=(",", ":")) in text


def test_anyone_can_recompute_the_numbers_from_the_matrix(audited):
    document, settings = audited
    matrix = np.array(document["confusion_matrix"], dtype=np.int64)
    layout = TotalsLayout.of(settings.labels)
    totals = layout.split(matrix_to_vector(matrix, layout))
    for name in ("miou", "pixel_accuracy", "mean_accuracy", "fwiou", "dice", "category_iou"):
        assert document["metrics"][name]["value"] == float(METRICS[name].score(totals))
    for entry, iou in zip(document["classes"], definitions.iou(totals), strict=True):
        assert entry["iou"]["value"] == (None if np.isnan(iou) else iou)
    assert document["classes"][4]["iou"] == {"value": None, "low": None, "high": None}
    assert matrix.sum() == document["pixels"]["all"]


def test_every_number_has_its_definition_and_an_interval_around_it(audited):
    document, _ = audited
    assert set(document["metrics"]) == set(METRICS)
    for name, metric in document["metrics"].items():
        assert metric["definition"] == METRICS[name].definition
        assert metric["low"] <= metric["value"] <= metric["high"], name


def test_the_ledger_adds_up(audited):
    ledger = audited[0]["ledger"]
    assert ledger == {
        "pairs": 12, "ok": 10, "failed": 2,
        "failures": {"missing_prediction": 1, "size_mismatch": 1},
    }  # fmt: skip


def test_what_was_planted_is_said(audited):
    document, _ = audited
    assert document["strange_values"] == [
        {"side": "truth", "value": 99, "files": 10, "pixels": 70,
         "examples": [f"folder/{number:02}" for number in (1, 2, 3, 5, 6)]},
    ]  # fmt: skip
    suspect = document["suspected_label_errors"][0]
    assert (suspect["key"], suspect["truth_class"]) == ("folder/03", "ground")
    assert suspect["predicted_class"] == "dog" and 0 < suspect["confidence"] < 1
    assert document["calibration"]["coverage"][0]["coverage"] == 1.0
    assert document["worst_images"][0]["miou"] <= document["worst_images"][-1]["miou"]


def test_markdown_says_it_all(audited):
    document, _ = audited
    text = document_to_markdown(document)
    assert "12 pairs = 10 compared + 2 failed" in text
    for metric in document["metrics"].values():
        assert metric["title"] in text and metric["definition"] in text
    assert with_interval(document["metrics"]["miou"]) in text
    tenth = document["calibration"]["changed_per_confidence_decile"][-1]
    assert f"| 0.9 to 1.0 | {tenth['pixels']:,.0f} | {tenth['changed']:.2%} |" in text
    cat = document["classes"][1]
    assert f"| {cat['missed_pixels']:,} | {cat['false_pixels']:,} | {cat['truth_images']} |" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    heads = [place for place, line in enumerate(tables) if set(line) <= set("|- ")]
    for first, last in zip(heads, [*heads[1:], len(tables) + 1], strict=True):
        widths = {line.replace("\\|", "").count("|") for line in tables[first - 1 : last - 1]}
        assert len(widths) == 1  # no name breaks a table


def test_names_cannot_become_markup(audited):
    """Read by another program: no HTML, and the nasty class stands in its cell as it is."""
    document, _ = audited
    nasty = document["classes"][3]["name"]
    text = document_to_markdown({**document, "faults": [{"name": "made", "message": nasty}]})
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inside = [child for token in tokens for child in token.children or ()]
    assert not {one.type for one in (*tokens, *inside)} & {"html_inline", "html_block", "link_open"}
    shown = ["".join(one.content for one in token.children or ()) for token in tokens]
    assert nasty in shown and f"made: {nasty}" in shown
