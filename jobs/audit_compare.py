"""`audit compare` from start to end: two audits with their rows -> what moved."""

import json
import posixpath
from collections.abc import Iterator
from functools import partial

from maskmill.pipeline.audit.comparison import Document, Row, compare_audits
from maskmill.pipeline.audit.job import DOCUMENT
from maskmill.pipeline.audit.manifest import ROWS, audit_layout
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.errors import SettingsError


def compare(
    before_path: str, after_path: str, *, resamples: int, seed: int, common: bool = False
) -> Document:
    """What moved between two audits, from their audit.json and the rows beside it.

    Raises:
        SettingsError: no audits, without their rows, of different classes, or of different truths
            without ``common``.
    """
    before, after = _load_audit(before_path), _load_audit(after_path)
    return compare_audits(
        before[0], after[0], partial(_rows, before[1]), partial(_rows, after[1]),
        resamples=resamples, seed=seed, common=common,
    )  # fmt: skip


def _rows(layout: RunLayout, columns: list[str]) -> Iterator[Row]:
    for table in layout.committed_rows(columns):
        yield from table.to_pylist()


def _load_audit(path: str) -> tuple[Document, RunLayout]:
    """The document of an audit, given as its folder or its json, and the folder."""
    folder, name = posixpath.split(path) if path.endswith(".json") else (path, DOCUMENT)
    layout = audit_layout(folder or ".")
    try:
        document: Document = json.loads(layout.read(name))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is no audit.json: {error}") from error
    if not isinstance(document, dict) or document.get("document") != "maskmill audit":
        raise SettingsError(f"{path} was not written by maskmill audit")
    if document["ledger"]["pairs"] and not layout.committed_blocks():
        raise SettingsError(f"{layout.root}/{ROWS} is not there; keep the whole OUT of an audit")
    return document, layout
