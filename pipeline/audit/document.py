"""AuditTally -> the document of an audit: plain values, from which every report is made."""

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np

from maskmill.pipeline.audit.alignment import DOUBTS
from maskmill.pipeline.audit.diagnosis import diagnose
from maskmill.pipeline.audit.disagreement import Region, ranked_confusions, suspicion
from maskmill.pipeline.audit.shortlists import Census
from maskmill.pipeline.audit.tally import OTHER_SIZES, AuditTally
from maskmill.pipeline.metrics import calibration, definitions
from maskmill.pipeline.metrics.boundary import TRIMAP_WIDTHS
from maskmill.pipeline.metrics.compiled import native
from maskmill.pipeline.metrics.intervals import interval_of
from maskmill.pipeline.metrics.metric import Metric
from maskmill.pipeline.metrics.registry import METRICS
from maskmill.pipeline.metrics.totals import Sums, Totals

DOCUMENT_VERSION = 1
MIN_SUSPICION = 0.25
MIN_CORE = 16  # pixels
PACKAGES = ("numpy", "pyarrow", "pillow", "opencv-python-headless")

Document = dict[str, Any]


def audit_document(
    tally: AuditTally, settings: Mapping[str, Any], pairing: Mapping[str, Any]
) -> Document:
    """Everything an audit says, ready for JSON; NaN has become None.

    Args:
        tally: after its last row.
        settings: what the numbers depend on, as plain values.
        pairing: how files were matched, as plain values.
    """
    return {
        "document": "maskmill audit", "version": DOCUMENT_VERSION,
        "maskmill": _version("maskmill"), "versions": _versions(), "settings": dict(settings),
        "labels": tally.labels.to_dict(),
        "ledger": {
            "pairs": tally.ok + tally.failed, "ok": tally.ok, "failed": tally.failed,
            "failures": dict(sorted(tally.failures.items())),
        },
        "pixels": {
            "all": tally.pixels, "counted": int(tally.matrix[:-1].sum()),
            "ignored": tally.ignored_pixels,
        },
        "faults": [
            {"name": fault.name, "message": fault.message, "keys": list(fault.keys)}
            for fault in diagnose(tally)
        ],
        "trials": _trials(tally),
        "pairing": {**pairing, "kinds": {side: dict(kinds) for side, kinds in tally.kinds.items()}},
        "notes": dict(tally.notes), **_figures(tally), **_places(tally),
    }  # fmt: skip


def _trials(tally: AuditTally) -> Document:
    """What was looked for in how many pairs, and in which of them it could not show."""
    sizes = sum(tally.failures[code] for code in OTHER_SIZES)
    return {
        "undecided": tally.num_undecided,
        "reasons": {
            name: {"why": why, **_census(tally.undecided[name])}
            for name, why in DOUBTS.items() if name in tally.undecided
        },
        "exchanges": {"searched": tally.searched, "candidates": tally.num_low + sizes},
    }  # fmt: skip


def _figures(tally: AuditTally) -> Document:
    return {
        "metrics": _metrics(tally), "classes": _classes(tally), "categories": _categories(tally),
        "confusion_matrix": tally.matrix.tolist(),
        "confusion_matrix_axes": "rows truth, columns prediction; the last is ignore or no class",
        "confusions": _confusions(tally), "trimap": _trimap(tally),
        "calibration": _calibration(tally),
    }  # fmt: skip


def _places(tally: AuditTally) -> Document:
    return {
        "failed_pairs": tally.failed_rows.rows(), "strange_values": _strange_values(tally),
        "truth_findings": {
            "by_check": {check: _census(one) for check, one in sorted(tally.findings.items())},
            "first": tally.finding_rows.rows()[:100],
        },
        "largest_regions": [_named(region, tally) for region in tally.regions.rows()[:100]],
        "suspected_label_errors": suspected_label_errors(tally)[:200],
        "worst_images": [_image(row, tally) for row in tally.worst.rows()],
        "worst_images_of_class": {
            name: [_image(row, tally) for row in shortlist.rows()]
            for name, shortlist in zip(tally.labels.names, tally.worst_of_class, strict=True)
        },
    }  # fmt: skip


def suspected_label_errors(tally: AuditTally) -> list[Document]:
    """Regions in which the truth looks wrong, most suspicious first."""
    reliability = definitions.precision(tally.layout.split(tally.vector))
    found = []
    for row in tally.cores.rows():
        region = Region(
            row["truth"],
            row["prediction"],
            row["area"],
            row["core"],
            tuple(row["bbox"]),
            row["confidence"],
        )
        score = suspicion(region, reliability)
        if row["core"] >= MIN_CORE and score >= MIN_SUSPICION:
            found.append({**_named(row, tally), "suspicion": score})
    return sorted(found, key=lambda row: (-row["suspicion"], row["pair_id"], row["bbox"]))


def _metrics(tally: AuditTally) -> dict[str, Document]:
    point = tally.layout.split(tally.vector)
    resamples = tally.layout.split(tally.bootstrap.sums())
    return {
        name: {
            "title": metric.title, "definition": metric.definition, "shown": metric.shown,
            "per_class": metric.per_class is not None,
            "lower_is_better": metric.lower_is_better, **_scored(metric, point, resamples, tally),
        }
        for name, metric in METRICS.items()
    }  # fmt: skip


def _scored(metric: Metric, point: Totals, resamples: Totals, tally: AuditTally) -> Document:
    if metric.needs == "categories" and not _has_categories(tally):
        return {"value": None, "low": None, "high": None}
    interval = interval_of(metric.score(resamples))
    return {"value": _number(metric.score(point)), "low": interval.low, "high": interval.high}


def _has_categories(tally: AuditTally) -> bool:
    return any(entry.supercategory for entry in tally.labels.classes)


def _classes(tally: AuditTally) -> list[Document]:
    point = tally.layout.split(tally.vector)
    resamples = tally.layout.split(tally.bootstrap.sums())
    columns = {name: metric.per_class for name, metric in METRICS.items() if metric.per_class}
    values = {name: score(point) for name, score in columns.items()}
    spread = {name: score(resamples) for name, score in columns.items()}
    rows = []
    for entry in tally.labels.classes:
        truth = int(tally.matrix[entry.index].sum())
        predicted = int(tally.matrix[:-1, entry.index].sum())
        hits = int(tally.matrix[entry.index, entry.index])
        row: Document = {
            "index": entry.index, "name": entry.name, "color": list(entry.color),
            "truth_pixels": truth, "predicted_pixels": predicted,
            "missed_pixels": truth - hits, "false_pixels": predicted - hits,
            "truth_images": int(tally.images_with_class[entry.index, 0]),
            "predicted_images": int(tally.images_with_class[entry.index, 1]),
            "changed_images": int(tally.changed_images[entry.index]),
        }  # fmt: skip
        for name in columns:
            interval = interval_of(spread[name][:, entry.index])
            value = _number(values[name][entry.index])
            row[name] = {"value": value, "low": interval.low, "high": interval.high}
        rows.append(row)
    return rows


def _categories(tally: AuditTally) -> list[Document]:
    if not _has_categories(tally):
        return []
    scores = definitions.category_iou(tally.layout.split(tally.vector))
    return [
        {"name": name, "iou": _number(score)}
        for name, score in zip(tally.layout.category_names, scores, strict=True)
    ]


def _confusions(tally: AuditTally) -> list[Document]:
    names = tally.labels.names
    return [
        {"truth": names[one.truth], "prediction": names[one.prediction], "pixels": one.pixels,
         "share": one.share}
        for one in ranked_confusions(tally.matrix)
    ]  # fmt: skip


def _trimap(tally: AuditTally) -> list[Document]:
    curve = []
    for width, sums in zip(TRIMAP_WIDTHS, tally.trimap, strict=True):
        known = sums[:, 1] > 0
        mean = float(np.mean(sums[known, 0] / sums[known, 1])) if known.any() else None
        curve.append({"width": width, "miou": mean})
    return curve


def _calibration(tally: AuditTally) -> Document | None:
    totals = tally.layout.split(tally.vector)
    if not totals.level_pixels.any():
        return None
    return {
        "reliability": calibration.reliability(totals),
        "coverage": calibration.coverage_curve(totals),
        "changed_per_confidence_decile": calibration.changed_per_decile(totals),
    }


def _strange_values(tally: AuditTally) -> list[Document]:
    ordered = sorted(tally.strange.items(), key=lambda item: (-item[1].pixels, item[0]))
    return [{"side": side, "value": value, **_census(one)} for (side, value), one in ordered[:100]]


def _census(one: Census) -> Document:
    return {"files": one.files, "pixels": one.pixels, "examples": list(one.examples)}


def _named(region: Document, tally: AuditTally) -> Document:
    names = tally.labels.names
    return {
        **region,
        "truth_class": names[region["truth"]], "predicted_class": names[region["prediction"]],
    }  # fmt: skip


def _image(row: Document, tally: AuditTally) -> Document:
    names = tally.labels.names
    return {**row, "classes": {names[index]: iou for index, iou in row["classes"].items()}}


def _number(value: Sums | float) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None


def _versions() -> dict[str, str]:
    """Of Python and packages, and whether loops were compiled: only the pace hangs on that."""
    loops = "compiled" if native() else "arrays"
    packages = {name: _version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **packages, "loops": loops}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
