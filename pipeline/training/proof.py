"""Proof of a fine-tuning: samples, steps and scores agree with each other and with the model."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from maskmill.pipeline.models.model_folder import CARD, WEIGHTS
from maskmill.pipeline.runs.checks import (
    Checked,
    ExpectedRows,
    checked,
    record_problems,
    record_to_prove,
)
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import RunRecord
from maskmill.pipeline.training.checkpoint import step_rows, validation_rows
from maskmill.pipeline.training.result import FOLDER, scores_of
from maskmill.schemas.labels import LabelMap

COLUMNS = ["image_id", "key", "status", "error_code", "error_message"]


def verify_finetune(layout: RunLayout) -> Iterator[Checked]:
    """Check a fine-tuning: its record, its samples, every step once, and OUT/model.

    Raises:
        SettingsError: the folder holds no run.
    """
    record = record_to_prove(layout)
    expected = ExpectedRows(layout, "image_id")
    yield checked(0, record_problems(layout, record, expected.inputs))
    for block in layout.committed_blocks():
        rows = layout.committed_block(block, COLUMNS)
        yield checked(rows.num_rows, expected.problems(block, rows))
    yield checked(0, expected.missing())
    yield checked(0, _model_problems(layout, record))


def _model_problems(layout: RunLayout, record: RunRecord) -> Iterator[str]:
    try:
        card = json.loads(layout.read(f"{FOLDER}/{CARD}"))
        weights = layout.read(f"{FOLDER}/{WEIGHTS}")
    except (FileNotFoundError, ValueError) as error:
        yield f"{FOLDER}/: {error}; run the same command again"
        return
    if hashlib.sha256(weights).hexdigest() != card.get("sha256"):
        yield f"{FOLDER}/{WEIGHTS} is not the file that {CARD} was written for"
    if card != record.info.get("model"):
        yield f"{FOLDER}/{CARD} is not what run.json says of the model"
        return
    yield from _row_problems(layout, card, LabelMap.from_dict(record.label_map))


def _row_problems(layout: RunLayout, card: dict[str, Any], labels: LabelMap) -> Iterator[str]:
    steps = step_rows(layout)["step"].to_pylist()
    if steps != list(range(1, card["training"]["steps"] + 1)):
        yield f"rows/steps/: {len(steps)} rows, not one for each of {card['training']['steps']}"
    for name in ("before", "scores"):
        rows = validation_rows(layout, int(card[name]["epoch"]))
        if scores_of(rows, labels, int(card[name]["epoch"])) != card[name]:
            yield f"{FOLDER}/{CARD}: its {name} are not those of the rows"
