"""A comparison of two audits as one self-contained HTML page: no network, no other file."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import jinja2

from maskmill.pipeline.audit.report.changes import Changes
from maskmill.pipeline.audit.report.page import TEMPLATES
from maskmill.pipeline.audit.report.text import moved_metrics, number

Document = dict[str, Any]

DIRECTIONS = {"worse": "Got worse most", "better": "Got better most"}


def comparison_page(
    moved: Document, names: Mapping[str, str], draw: Callable[[str], Changes | None]
) -> str:
    """The page as text.

    Args:
        moved: what :func:`compare_audits` gave.
        names: how the two audits are called: before, after.
        draw: pictures of a key, None where they cannot be had any more.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["number"] = number
    galleries = [
        {"name": name, "title": title, **_gallery(moved[name], draw)}
        for name, title in DIRECTIONS.items()
    ]
    classes = [one for one in moved["classes"] if one["change"] is not None]
    return environment.get_template("compare.html").render(
        moved=moved, names=names, galleries=galleries, metrics=moved_metrics(moved), classes=classes
    )


def _gallery(rows: list[Document], draw: Callable[[str], Changes | None]) -> Document:
    drawn = [(row, draw(row["key"])) for row in rows]
    shown = [{**row, "pictures": asdict(small)} for row, small in drawn if small]
    return {"rows": shown, "gone": len(rows) - len(shown), "all": len(rows)}
