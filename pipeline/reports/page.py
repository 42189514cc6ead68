"""A run as one self-contained HTML page: ledger, classes, confidence, pictures, failures."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jinja2

from maskmill.pipeline.reports.selection import PICTURES, Section, sections
from maskmill.pipeline.review import gallery
from maskmill.pipeline.review.display_colors import displayed
from maskmill.pipeline.review.opening import open_subject
from maskmill.pipeline.review.query import Query
from maskmill.pipeline.review.renditions import Renditions
from maskmill.pipeline.review.sampled_set import SampledSet
from maskmill.pipeline.review.slim_index import SlimIndex
from maskmill.pipeline.review.subject import Item, Subject
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import load_record
from maskmill.schemas.errors import FileFailure, SettingsError
from maskmill.schemas.labels import LabelMap

TEMPLATES: Final = Path(__file__).parent / "templates"
PLACE: Final = "report/index.html"
SIDE: Final = 480  # pixels of the longer side of a picture: sharp when enlarged on a phone
FAILURES_SHOWN: Final = 200
_SUMS: Final = """
SELECT class, count(*), avg(share), avg(sure) FROM presence GROUP BY class ORDER BY count(*) DESC
"""


def write_report(source: str, pictures: int = PICTURES) -> str:
    """Write ``report/index.html`` into a run's folder; its full path.

    Raises:
        SettingsError: no run of prelabel, cutout or convert.
    """
    subject = open_subject(source)
    if subject.command == "audit":
        raise SettingsError(f"{source} is an audit, which has its page already: report.html in it")
    if subject.layout is None:
        raise SettingsError(
            f"{source} is a data set, into which nothing is written; `maskmill view` shows it"
        )
    page = report_page(subject, pictures)
    subject.layout.write(PLACE, page.encode("utf-8", "surrogateescape"))
    return subject.layout.path(PLACE)


def report_page(subject: Subject, pictures: int = PICTURES) -> str:
    """The page as text; its index lives in memory alone.

    Raises:
        RunFailed: rows that cannot be read.
    """
    index = SlimIndex(subject, None)
    try:
        if isinstance(subject, SampledSet):
            subject.look()
        index.refresh()
        found = sections(index, subject.labels, pictures)
        return template_environment().get_template("report.html").render(
            subject=subject, ledger=_ledger(index, subject), facts=_facts(subject.layout),
            classes=_classes(index, displayed(subject.labels)),
            histogram=gallery.histogram(index, Query(), "confidence"),
            sections=_drawn(found, subject), failures=_failures(index),
            failures_shown=FAILURES_SHOWN,
        )  # fmt: skip
    finally:
        index.close()


def template_environment() -> jinja2.Environment:
    """Of the pages here: what is put in is escaped, what is not there is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"share": shown_share, "count": lambda value: f"{value:,}"}
    return environment


def _ledger(index: SlimIndex, subject: Subject) -> dict[str, int]:
    counted = dict(index.ask("SELECT status, count(*) FROM images GROUP BY status"))
    ok, failed = counted.get("ok", 0), counted.get("failed", 0)
    inputs = subject.standing().inputs
    inputs = ok + failed if inputs is None else inputs
    return {"inputs": inputs, "ok": ok, "failed": failed, "pending": inputs - ok - failed}


def _facts(layout: RunLayout | None) -> dict[str, str]:
    """What made the masks, for the head of the page."""
    record = load_record(layout) if layout else None
    if record is None:
        return {}
    model: Mapping[str, Any] = record.model
    named = {"model": model.get("model") or model.get("name"), "state": record.state,
             "weights": str(model.get("weights_sha256") or "")[:16],
             "maskmill": record.versions.get("maskmill")}  # fmt: skip
    return {name: str(value) for name, value in named.items() if value}


def _classes(index: SlimIndex, labels: LabelMap) -> list[dict[str, Any]]:
    known = {entry.index: entry for entry in labels.classes}
    rows = [row for row in index.ask(_SUMS) if row[0] in known]
    most = max((images for _, images, _, _ in rows), default=1)
    return [
        {"name": known[number].name, "color": known[number].color, "images": images,
         "share": share, "sure": sure, "width": 100 * images / most,
         "is_background": known[number].is_background}
        for number, images, share, sure in rows
    ]  # fmt: skip


def _failures(index: SlimIndex) -> list[tuple[Any, ...]]:
    return index.ask(
        "SELECT key, error_code, error_message FROM images WHERE status = 'failed' ORDER BY n "
        "LIMIT ?",
        [FAILURES_SHOWN],
    )


def _drawn(found: list[Section], subject: Subject) -> list[dict[str, Any]]:
    renditions = Renditions(subject)
    labels = displayed(subject.labels)
    colors = {entry.index: entry for entry in labels.classes if not entry.is_background}
    drawn = []
    for section in found:
        rows = [_figure(row, renditions, colors) for row in section.rows]
        shown = [row for row in rows if row is not None]
        drawn.append({"name": section.name, "title": section.title, "rows": shown,
                      "gone": len(rows) - len(shown)})  # fmt: skip
    return drawn


def _figure(
    row: dict[str, Any], renditions: Renditions, colors: Mapping[int, Any]
) -> dict[str, Any] | None:
    """One picture; None where it cannot be had any more."""
    item = Item(row["n"], row["key"], row["block"], row["stamp"])
    try:
        data = renditions.thumbnail(item, SIDE)
    except FileFailure:
        return None
    classes = [
        {"name": colors[one["index"]].name, "color": colors[one["index"]].color,
         "share": one["share"]}
        for one in row["classes"] if one["index"] in colors
    ]  # fmt: skip
    uri = f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"
    return {"key": row["key"], "uri": uri, "entropy": row["entropy"], "classes": classes}


def shown_share(value: float | None) -> str:
    """Per cent; what is there is never shown as nothing, what is not known is a dash."""
    if value is None:
        return "–"
    return "< 1 %" if 0 < value < 0.005 else f"{100 * value:.0f} %"
