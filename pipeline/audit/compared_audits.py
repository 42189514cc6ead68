"""`audit compare` from start to end: two audits with their rows -> what moved."""

import json
import posixpath
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.audit.audit_file import DOCUMENT, read_audit
from maskmill.pipeline.audit.comparison import Document, Row, compare_audits
from maskmill.pipeline.audit.manifest import ROWS, audit_layout, has_mask_prints
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.errors import SettingsError

COMPARISON = "compare.json"
COMPARISON_PAGE = "compare.html"

_PRINTS = ("truth_sha256", "prediction_sha256")
_PICTURE_COLUMNS = [
    "key", "status", "prediction_uri", "prediction_item", "truth_uri", "truth_item", "image_uri",
    *_PRINTS,
]  # fmt: skip

Audit = tuple[Document, RunLayout]


def compare(
    before_path: str,
    after_path: str,
    *,
    resamples: int,
    seed: int,
    common: bool = False,
    out: str | None = None,
) -> Document:
    """What moved between two audits, from their audit.json and the rows beside it.

    Where ``out`` is a folder, the comparison and its page are written there. Where truths are known
    to be the same by less than the hashes of their class maps, ``truths`` has a note that says so.

    Raises:
        SettingsError: no audits, without their rows, of different classes, or of different truths
            without ``common``.
    """
    before, after = _load_audit(before_path), _load_audit(after_path)
    are_alike = has_mask_prints(before[1]) == has_mask_prints(after[1])
    rows = [partial(_rows, layout, are_alike) for _, layout in (before, after)]
    moved = compare_audits(
        before[0], after[0], *rows, resamples=resamples, seed=seed, common=common
    )
    moved["truths"]["note"] = _counted_note(moved["truths"]["by_class_pixels"], before, after)
    if out is not None:
        moved["files"] = _write(out, moved, before, after)
    return moved


def _counted_note(count: int, before: Audit, after: Audit) -> str | None:
    """What is not known of ``count`` truths that were only counted, why, and what to do."""
    if not count:
        return None
    old = [layout.root for _, layout in (before, after) if not has_mask_prints(layout)]
    why = "an audit with --counts-only keeps no hash of them; audit without it"
    if len(old) == 1:
        why = f"{old[0]} is of an earlier version, whose hashes are other ones; audit it again"
    return (
        f"the truths of {count:,} of the pictures have as many pixels of each class, and whether "
        f"they lie in the same places is not known: {why}, with --overwrite"
    )


def _write(out: str, moved: Document, before: Audit, after: Audit) -> dict[str, str]:
    from maskmill.pipeline.audit.report.changes import ChangeMaker, settings_of
    from maskmill.pipeline.audit.report.comparison_page import comparison_page

    maker = ChangeMaker(settings_of(before[0]), settings_of(after[0]))
    keys = {row["key"] for name in ("better", "worse") for row in moved[name]}
    rows = [{row["key"]: row for row in _rows_of(audit[1], keys)} for audit in (before, after)]
    page = comparison_page(
        moved, {"before": before[1].root, "after": after[1].root},
        lambda key: maker.draw(rows[0][key], rows[1][key]),
    )  # fmt: skip
    layout = RunLayout(out)
    layout.write(COMPARISON_PAGE, page.encode("utf-8"))
    text = json.dumps(moved, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    layout.write(COMPARISON, text.encode("utf-8"))
    layout.clear(layout.scratch)
    return {"page": layout.path(COMPARISON_PAGE), "numbers": layout.path(COMPARISON)}


def _rows_of(layout: RunLayout, keys: set[str]) -> Iterator[Row]:
    wanted = pa.array(sorted(keys), pa.string())
    prints = {} if has_mask_prints(layout) else dict.fromkeys(_PRINTS)
    for table in layout.committed_rows(_PICTURE_COLUMNS):
        chosen = pc.and_(pc.is_in(table["key"], wanted), pc.equal(table["status"], "ok"))
        yield from (row | prints for row in table.filter(chosen).to_pylist())


def _rows(layout: RunLayout, are_alike: bool, columns: list[str]) -> Iterator[Row]:
    """Rows of one of two audits; without hashes where those of the two are of other kinds."""
    prints = {} if are_alike else dict.fromkeys(_PRINTS)
    for table in layout.committed_rows(columns):
        yield from (row | prints for row in table.to_pylist())


def _load_audit(path: str) -> Audit:
    """The document of an audit, given as its folder or its json, and the folder."""
    folder, name = posixpath.split(path) if path.endswith(".json") else (path, DOCUMENT)
    layout = audit_layout(folder or ".")
    document = read_audit(layout, name)
    if document["ledger"]["pairs"] and not layout.committed_blocks():
        raise SettingsError(f"{layout.root}/{ROWS} is not there; keep the whole OUT of an audit")
    return document, layout
