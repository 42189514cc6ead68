"""What annotators changed of pre-labels: an audit whose truth was pulled from their tool."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import load_record
from maskmill.schemas.text import count_of

PULL = "pull"
SURE, DOUBTFUL = 0.9, 0.5
"""Confidences whose pixels are compared: those above the one with those below the other."""

Document = dict[str, Any]


def is_pulled(layout: RunLayout) -> bool:
    """True where a run is annotators' work: it holds what they have done so far, and no more.

    What holds no rows is no run: a document, an archive, a folder with a ``run.json`` of others.
    """
    record = load_record(layout) if layout.exists(layout.metadata) else None
    return record is not None and record.command == PULL


def corrections(document: Document, truth: str) -> Document | None:
    """Images by what became of their prediction, and classes by what was changed of them.

    None where the truth was not pulled. ``changed_to`` are pixels that became the class,
    ``changed_from`` those that were it; ``images`` have at least one of either.
    """
    layout = RunLayout(truth)
    if not is_pulled(layout):
        return None
    changes: Counter[str] = Counter()
    for table in layout.committed_rows(["status", "change"]):
        rows = table.to_pylist()
        changes.update(row["change"] for row in rows if row["status"] == "ok")
    compared = document["ledger"]["ok"]
    return {
        "predictions": dict(sorted(changes.items())),
        "compared": compared,
        "classes": [
            {
                "name": entry["name"], "changed_to": entry["missed_pixels"],
                "changed_from": entry["false_pixels"], "images": entry["changed_images"],
                "share_of_images": entry["changed_images"] / compared if compared else None,
            }
            for entry in document["classes"]
        ],
        "confidence": _worth(document),
    }  # fmt: skip


def _worth(document: Document) -> Document | None:
    """The share of changed pixels among the sure and among the doubtful ones."""
    tenths = (document["calibration"] or {}).get("changed_per_confidence_decile")
    if not tenths:
        return None
    sure = [one for one in tenths if one["from"] >= SURE - 1e-9]
    doubtful = [one for one in tenths if one["from"] < DOUBTFUL - 1e-9]
    return {"sure": _share(sure), "doubtful": _share(doubtful)}


def _share(tenths: list[Document]) -> float | None:
    pixels = sum(one["pixels"] for one in tenths)
    return sum(one["pixels"] * one["changed"] for one in tenths) / pixels if pixels else None


def corrections_lines(found: Document | None, most: int) -> Iterator[str]:
    """The same for people: the classes that were changed in most pixels first."""
    if found is None:
        return
    told = ", ".join(f"{count:,} {name}" for name, count in found["predictions"].items())
    yield f"annotators: predictions {told}; {count_of(found['compared'], 'image')} compared"
    rows = sorted(found["classes"], key=lambda row: -(row["changed_to"] + row["changed_from"]))
    for row in [row for row in rows if row["images"]][:most]:
        yield (
            f"  {row['name']:<28} changed to it {row['changed_to']:,} px, away from it "
            f"{row['changed_from']:,} px, in {row['share_of_images']:.0%} of the images"
        )
    worth = found["confidence"]
    if worth is None:
        yield "  confidence: not known (the run was made without --write soft)"
        return
    yield (
        f"  confidence: changed of the pixels above {SURE:g} {_percent(worth['sure'])}, of those "
        f"below {DOUBTFUL:g} {_percent(worth['doubtful'])}"
    )


def _percent(share: float | None) -> str:
    return "– (there are none)" if share is None else f"{share:.2%}"
