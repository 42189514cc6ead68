"""`verify` of an audit: true of a real one, and every planted disagreement is found."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.audit.manifest import audit_layout
from maskmill.pipeline.audit.proof import verify_audit
from maskmill.pipeline.runs.record import RunRecord
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.tables.audit import AUDIT, PAIR_MANIFEST


@pytest.fixture
def out(tmp_path):
    cells = [{"truth": 0, "prediction": 1, "pixels": 5}, {"truth": 2, "prediction": 0, "pixels": 3}]
    rows = [
        dict.fromkeys(AUDIT.names)
        | {"pair_id": number, "key": f"{number}", "status": "ok", "pixels": 8, "ignored_pixels": 3,
           "cells": cells, "block": 0}
        for number in (1, 2)
    ]  # fmt: skip
    rows.append(
        dict.fromkeys(AUDIT.names)
        | {
            "pair_id": 3,
            "key": "3",
            "status": "failed",
            "error_code": "empty_file",
            "error_message": "3 is empty",
            "block": 0,
        }
    )
    save(tmp_path, rows)
    manifest = [
        dict.fromkeys(PAIR_MANIFEST.names) | {"pair_id": n, "key": f"{n}", "block": 0, "stamp": ""}
        for n in (1, 2, 3)
    ]
    (tmp_path / "manifest").mkdir()
    pq.write_table(
        pa.Table.from_pylist(manifest, schema=PAIR_MANIFEST), tmp_path / "manifest/manifest.parquet"
    )
    document = {
        "document": "maskmill audit", "classes": ["a", "b"],
        "confusion_matrix": [[0, 10, 0], [0, 0, 0], [6, 0, 0]],
        "ledger": {"pairs": 3, "ok": 2, "failed": 1},
    }  # fmt: skip
    (tmp_path / "audit.json").write_text(json.dumps(document))
    ledger = {"inputs": 3, "ok": 2, "failed": 1}
    record = RunRecord(command="audit", identity={}, state="finished", ledger=ledger)
    record.save(audit_layout(str(tmp_path)))
    return tmp_path, rows, document


def save(folder, rows):
    (folder / "pairs").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=AUDIT), folder / "pairs/block-0000000.parquet")


def problems(folder):
    return [problem for step in verify_audit(str(folder)) for problem in step.problems]


def test_a_true_audit(out):
    steps = list(verify_audit(str(out[0])))
    assert sum(step.items for step in steps) == 3 and problems(out[0]) == []


@pytest.mark.parametrize("change, words", [
    (lambda rows, document: rows[0].update(pixels=9), "1: pixels is 9, its cells add up to 8"),
    (lambda rows, document: rows[1].update(ignored_pixels=0), "ignored_pixels is 0"),
    (lambda rows, document: rows[1].update(key="x"), "its rows are not those of the manifest"),
    (lambda rows, document: rows.pop(), "its rows are not those of the manifest"),
    (lambda rows, document: rows[2].update(error_code=None), "a failed row without a known code"),
    (lambda rows, document: document["confusion_matrix"][0].sort(), "not the sum of the rows"),
    (lambda rows, document: document["ledger"].update(ok=3), "says ok 3, counted 2"),
])  # fmt: skip
def test_what_does_not_agree_is_said(out, change, words):
    folder, rows, document = out
    change(rows, document)
    save(folder, rows)
    (folder / "audit.json").write_text(json.dumps(document))
    assert any(words in problem for problem in problems(folder)), problems(folder)


def test_no_audit(tmp_path):
    with pytest.raises(SettingsError, match="no finished audit"):
        list(verify_audit(str(tmp_path)))
