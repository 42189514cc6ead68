"""The audit document as one self-contained HTML page: no network, no other file, any screen."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from maskmill.pipeline.audit.operator import AuditSettings
from maskmill.pipeline.audit.report.text import (
    class_columns,
    number,
    shown_metrics,
    trial_lines,
)
from maskmill.pipeline.audit.report.thumbnails import ThumbnailMaker

Document = dict[str, Any]

TEMPLATES = Path(__file__).parent / "templates"
WORST_SHOWN = 30
WORST_OF_CLASS_SHOWN = 3
MAX_SHOWN = 120
SUSPECTS_SHOWN = 16
REMARKS = ("never_seen_classes", "ignored_predictions")
"""Faults that may well be intended."""


def audit_page(document: Document, settings: AuditSettings) -> str:
    """The page as text. Masks and pictures of the worst pairs are read again for thumbnails."""
    maker = ThumbnailMaker(settings)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": number, "percent": _percent, "share": _share}
    return environment.get_template("audit.html").render(
        document=document, headlines=shown_metrics(document),
        class_columns=class_columns(document), gallery=_gallery(document, maker),
        suspects=_suspects(document, maker), heatmap=_script_json(_heatmap(document)),
        trimap=_plot([(point["width"] / 40, point["miou"]) for point in document["trimap"]]),
        coverage=_coverage(document), remarks=REMARKS, trials=trial_lines(document),
        colors={entry["name"]: entry["color"] for entry in document["classes"]},
    )  # fmt: skip


def _gallery(document: Document, maker: ThumbnailMaker) -> list[Document]:
    """Worst images over all, then the worst of each class, each image once, with thumbnails."""
    rows = document["worst_images"][:WORST_SHOWN] + [
        row for rows in document["worst_images_of_class"].values()
        for row in rows[:WORST_OF_CLASS_SHOWN]
    ]  # fmt: skip
    once = list({row["pair_id"]: row for row in rows}.values())[:MAX_SHOWN]
    drawn = ((row, maker.draw(row)) for row in once)
    shown = [{**row, "thumbnails": asdict(small)} for row, small in drawn if small]
    return sorted(shown, key=lambda row: (row["miou"], row["pair_id"]))


def _suspects(document: Document, maker: ThumbnailMaker) -> list[Document]:
    shown = []
    for region in document["suspected_label_errors"][:SUSPECTS_SHOWN]:
        small = maker.draw(region, tuple(region["bbox"]))
        if small:
            shown.append({**region, "thumbnails": asdict(small)})
    return shown


def _heatmap(document: Document) -> Document:
    names = [entry["name"] for entry in document["classes"]]
    return {"names": [*names, "ignore or no class"], "matrix": document["confusion_matrix"]}


def _coverage(document: Document) -> Document:
    curve = (document["calibration"] or {"coverage": []})["coverage"]
    return _plot([(point["coverage"], point["accuracy"]) for point in curve])


def _plot(curve: list[tuple[float, float | None]]) -> Document:
    """Points (0..1, 0..1) as SVG coordinates in a box of 300 x 120, and what its sides stand for.

    The box ends at 1 and begins at the tenth below the lowest point.
    """
    known = [(x, y) for x, y in curve if y is not None]
    tenths = min((math.floor(10 * y) for _, y in known), default=0)
    low = min(tenths, 9) / 10
    points = " ".join(f"{300 * x:.1f},{120 * (1 - y) / (1 - low):.1f}" for x, y in known)
    return {"points": points, "low": low, "middle": f"{(1 + low) / 2:g}", "high": 1}


def _percent(value: float | None) -> str:
    return "0" if value is None else f"{100 * value:.2f}"


def _share(value: float) -> str:
    """Per cent with two decimals; what is there is never shown as nothing."""
    return "< 0.01 %" if 0 < value < 0.00005 else f"{100 * value:.2f} %"


def _script_json(value: Document) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c"))
