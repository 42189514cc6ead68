"""Proof that an audit's manifest, rows and document agree; every disagreement is a sentence."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.compute as pc

from maskmill.pipeline.audit.audit_file import DOCUMENT, read_audit
from maskmill.pipeline.audit.manifest import audit_layout
from maskmill.pipeline.metrics.confusion import add_cells, empty_matrix
from maskmill.pipeline.runs.checks import (
    Checked,
    ExpectedRows,
    checked,
    record_problems,
    record_to_prove,
)
from maskmill.schemas.arrays import ConfusionCounts

COLUMNS = [
    "pair_id",
    "key",
    "status",
    "error_code",
    "error_message",
    "pixels",
    "ignored_pixels",
    "cells",
]

Row = dict[str, Any]


def verify_audit(root: str) -> Iterator[Checked]:
    """Check the rows of an audit block by block, then the document against their sum.

    Masks are not read again: an audit of changed masks is another audit.

    Raises:
        SettingsError: the folder holds no finished audit.
    """
    layout = audit_layout(root)
    document = read_audit(layout)
    record = record_to_prove(layout)
    expected = ExpectedRows(layout, "pair_id")
    yield checked(0, record_problems(layout, record, expected.inputs))
    matrix = empty_matrix(len(document["classes"]))
    statuses: Counter[str] = Counter()
    for block in layout.committed_blocks():
        rows = layout.committed_block(block, COLUMNS)
        statuses.update(rows["status"].to_pylist())
        problems = list(expected.problems(block, rows))
        for row in rows.filter(pc.equal(rows["status"], "ok")).to_pylist():
            problems += _cell_problems(row, matrix)
        yield checked(rows.num_rows, problems)
    yield checked(0, expected.missing())
    yield checked(0, _document_problems(document, matrix, statuses))


def _cell_problems(row: Row, matrix: ConfusionCounts) -> Iterator[str]:
    """Adds the row's cells to ``matrix``."""
    columns = [
        np.array([cell[name] for cell in row["cells"]], dtype=np.int64)
        for name in ("truth", "prediction", "pixels")
    ]
    add_cells(matrix, columns[0], columns[1], columns[2])
    ignored = int(columns[2][columns[0] == len(matrix) - 1].sum())
    for name, counted in (("pixels", int(columns[2].sum())), ("ignored_pixels", ignored)):
        if row[name] != counted:
            yield f"{row['key']}: {name} is {row[name]}, its cells add up to {counted}"


def _document_problems(
    document: Row, matrix: ConfusionCounts, statuses: Counter[str]
) -> Iterator[str]:
    if document["confusion_matrix"] != matrix.tolist():
        yield f"{DOCUMENT}: the confusion matrix is not the sum of the rows"
    ledger = document["ledger"]
    for name, counted in (("ok", statuses["ok"]), ("failed", statuses["failed"])):
        if ledger[name] != counted:
            yield f"{DOCUMENT}: the ledger says {name} {ledger[name]}, counted {counted}"
    if ledger["pairs"] != ledger["ok"] + ledger["failed"]:
        yield f"{DOCUMENT}: the ledger does not add up: {ledger}"
