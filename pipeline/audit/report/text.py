"""The audit document as JSON text and as Markdown."""

import json
from typing import Any

from maskmill.pipeline.audit.corrections import corrections_lines
from maskmill.schemas.text import markdown_text

Document = dict[str, Any]
MAX_CHANGED = 40


def shown_metrics(document: Document, *, on_console: bool = False) -> list[Document]:
    """Metrics that have a number for the whole dataset, with their names, in the registry's order.

    Of ``document["metrics"]``, where each says itself whether it is for the console, for the
    reports only, or for the table of classes only.
    """
    places = ("console",) if on_console else ("console", "reports")
    return [
        {"name": name, **metric} for name, metric in document["metrics"].items()
        if metric["shown"] in places and metric["value"] is not None
    ]  # fmt: skip


def moved_metrics(moved: Document) -> list[Document]:
    """Of a comparison, the metrics of the whole dataset that both audits have."""
    metrics = moved["metrics"].values()
    return [one for one in metrics if one["change"] is not None and one["shown"] != "classes"]


def class_columns(document: Document) -> dict[str, str]:
    """Name -> title of the metrics that every class has."""
    metrics = document["metrics"].items()
    return {name: metric["title"] for name, metric in metrics if metric["per_class"]}


def document_to_json(document: Document) -> str:
    """Indented JSON with a line per row of the confusion matrix; same document, same text."""
    matrix = document["confusion_matrix"]
    mark = "@confusion matrix@"
    text = json.dumps(
        {**document, "confusion_matrix": mark}, indent=1, ensure_ascii=False, allow_nan=False
    )
    rows = ",\n  ".join(json.dumps(row, separators=(",", ":")) for row in matrix)
    return text.replace(json.dumps(mark), f"[\n  {rows}\n ]") + "\n"


def number(value: float | None) -> str:
    """Four decimals; a dash where there is no number."""
    return "–" if value is None else f"{value:.4f}"


def with_interval(score: Document) -> str:
    """The value and its 95 % interval."""
    if score["value"] is None:
        return "–"
    if score["low"] is None:
        return number(score["value"])
    return f"{number(score['value'])} [{number(score['low'])}, {number(score['high'])}]"


def document_to_markdown(document: Document) -> str:
    """The audit on one page of text, worst things first."""
    parts = [
        _head(document), _faults(document), _trials(document), _headlines(document),
        _classes(document), _corrections(document), _changed(document), _confusions(document),
        _worst(document), _suspects(document), _failed(document), _definitions(document),
    ]  # fmt: skip
    return "\n".join(part for part in parts if part)


def _head(document: Document) -> str:
    ledger, pixels = document["ledger"], document["pixels"]
    lines = [
        "# Audit", "",
        f"{ledger['pairs']:,} pairs = {ledger['ok']:,} compared + {ledger['failed']:,} failed. "
        f"{pixels['counted']:,} pixels counted, {pixels['ignored']:,} ignored in the truth.",
    ]  # fmt: skip
    for code, count in ledger["failures"].items():
        lines.append(f"- {code}: {count:,}")
    return "\n".join(lines) + "\n"


def _faults(document: Document) -> str:
    if not document["faults"]:
        return ""
    lines = [
        f"- **{markdown_text(fault['name'])}**: {markdown_text(fault['message'])}"
        for fault in document["faults"]
    ]
    return "\n".join(["## What looks wrong", "", *lines]) + "\n"


def trial_lines(document: Document) -> list[str]:
    """How many pairs could not show a turn or shift, and why; where exchanges were looked for."""
    trials, lines = document["trials"], []
    if trials["undecided"]:
        pairs = f"{trials['undecided']:,} of {document['ledger']['ok']:,} pairs"
        lines.append(f"{pairs} could not show whether they were turned or moved:")
        lines += [
            f"{one['files']:,} {name} ({', '.join(one['examples'][:2])}"
            f"{', …' if one['files'] > 2 else ''}): {one['why']}"
            for name, one in trials["reasons"].items()
        ]
    searched, candidates = trials["exchanges"].values()
    if candidates:
        told = "all" if searched == candidates else f"{searched:,} that agree least"
        lines.append(
            f"files under each other's names were looked for among {told} of the {candidates:,} "
            "pairs of low agreement or differing sizes"
        )
    return lines


def _trials(document: Document) -> str:
    lines = [f"- {markdown_text(line)}" for line in trial_lines(document)]
    return "\n".join(["## What could not be decided", "", *lines]) + "\n" if lines else ""


def _headlines(document: Document) -> str:
    rows = [
        [markdown_text(metric["title"]), with_interval(metric)]
        for metric in shown_metrics(document)
    ]
    return "## Numbers\n\n" + _table(["metric", "value [95 % interval]"], rows)


def _classes(document: Document) -> str:
    """The first metric of a class comes with its interval."""
    columns = class_columns(document)
    first, *others = columns
    rows = [
        [markdown_text(entry["name"]), with_interval(entry[first]),
         *(number(entry[name]["value"]) for name in others), f"{entry['truth_pixels']:,}",
         f"{entry['missed_pixels']:,}", f"{entry['false_pixels']:,}", f"{entry['truth_images']:,}"]
        for entry in document["classes"]
    ]  # fmt: skip
    head = [
        "class", f"{markdown_text(columns[first])} [95 %]",
        *(markdown_text(columns[name]) for name in others), "truth pixels",
        "missed", "false", "images",
    ]  # fmt: skip
    return "## Classes\n\n" + _table(head, rows)


def _changed(document: Document) -> str:
    """Per tenth of confidence, where confidences are known."""
    tenths = (document["calibration"] or {}).get("changed_per_confidence_decile", [])
    rows = [
        [f"{one['from']:.1f} to {one['from'] + 0.1:.1f}", f"{one['pixels']:,.0f}",
         f"{one['changed']:.2%}"]
        for one in tenths
    ]  # fmt: skip
    head = ["confidence", "pixels", "wrong or changed"]
    return "## Wrong, or changed, per tenth of confidence\n\n" + _table(head, rows) if rows else ""


def _corrections(document: Document) -> str:
    """What annotators changed, where the truth is their work."""
    lines = [
        markdown_text(line.strip())
        for line in corrections_lines(document.get("corrections"), MAX_CHANGED)
    ]
    if not lines:
        return ""
    return "\n".join(["## What annotators changed", "", *(f"- {one}" for one in lines)]) + "\n"


def _confusions(document: Document) -> str:
    rows = [
        [
            markdown_text(one["truth"]),
            markdown_text(one["prediction"]),
            f"{one['pixels']:,}",
            f"{one['share']:.1%}",
        ]
        for one in document["confusions"][:10]
    ]
    head = ["truth", "predicted as", "pixels", "of the truth class"]
    return "## Confusions\n\n" + _table(head, rows) if rows else ""


def _worst(document: Document) -> str:
    rows = [
        [markdown_text(one["key"]), number(one["miou"]), number(one["pixel_accuracy"])]
        for one in document["worst_images"][:20]
    ]
    return "## Worst images\n\n" + _table(["image", "mIoU", "pixel accuracy"], rows) if rows else ""


def _suspects(document: Document) -> str:
    rows = [
        [*(markdown_text(one[name]) for name in ("key", "truth_class", "predicted_class")),
         f"{one['area']:,}",
         " ".join(map(str, one["bbox"])), f"{one['suspicion']:.2f}"]
        for one in document["suspected_label_errors"][:20]
    ]  # fmt: skip
    head = ["image", "labelled", "predicted", "pixels", "x y width height", "suspicion"]
    return "## Suspected label errors\n\n" + _table(head, rows) if rows else ""


def _failed(document: Document) -> str:
    rows = [
        [markdown_text(row[name]) for name in ("key", "error_code", "error_message")]
        for row in document["failed_pairs"][:50]
    ]
    head = ["pair", "problem", "what and what to do"]
    return "## Pairs not compared\n\n" + _table(head, rows) if rows else ""


def _definitions(document: Document) -> str:
    lines = [
        f"- **{metric['title']}** (`{name}`): {metric['definition']}"
        for name, metric in document["metrics"].items()
    ]
    return "\n".join(["## Definitions", "", *lines]) + "\n"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
