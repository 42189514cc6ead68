"""Proof that what was pulled is whole: its record, its rows and the masks that they speak of."""

import hashlib
from collections.abc import Iterator
from typing import Any

from maskmill.pipeline.masks.segments import class_statistics
from maskmill.pipeline.prelabel.writers.mask_file import png_to_mask
from maskmill.pipeline.runs.checks import (
    Checked,
    ExpectedRows,
    checked,
    record_problems,
    record_to_prove,
)
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.errors import FileFailure
from maskmill.schemas.labels import LabelMap

COLUMNS = [
    "image_id", "key", "status", "error_code", "error_message", "mask_path", "mask_sha256",
    "classes",
]  # fmt: skip


def verify_pull(layout: RunLayout) -> Iterator[Checked]:
    """Check a pull block by block: every mask is hashed, decoded and counted anew.

    Raises:
        SettingsError: the folder holds no run.
    """
    record = record_to_prove(layout)
    labels = LabelMap.from_dict(record.label_map)
    expected = ExpectedRows(layout, "image_id")
    yield checked(0, record_problems(layout, record, expected.inputs))
    for block in layout.committed_blocks():
        rows = layout.committed_block(block, COLUMNS)
        problems = list(expected.problems(block, rows))
        for row in rows.to_pylist():
            if row["status"] == "ok":
                problems += _mask_problems(layout, row, labels)
        yield checked(rows.num_rows, problems)
    yield checked(0, expected.missing())


def _mask_problems(layout: RunLayout, row: dict[str, Any], labels: LabelMap) -> Iterator[str]:
    path = row["mask_path"]
    try:
        data = layout.read(path)
    except FileNotFoundError:
        yield f"{path} is missing; its row says it was written"
        return
    if hashlib.sha256(data).hexdigest() != row["mask_sha256"]:
        yield f"{path} is not what was written: another SHA-256"
    try:
        counted = class_statistics(png_to_mask(data, labels, name=path), labels)
    except FileFailure as failure:
        yield str(failure)
        return
    if counted != row["classes"]:
        yield f"{path}: its classes are not those of its row"
