"""What `audit` and `audit compare` print."""

from collections.abc import Iterator
from typing import Any

from maskmill.pipeline.audit.corrections import corrections_lines
from maskmill.pipeline.audit.job import Audited
from maskmill.pipeline.audit.report.text import number, shown_metrics, with_interval
from maskmill.schemas.text import count_of, printable

MAX_FAULTS = 12
MAX_EXAMPLES = 3
MAX_CLASSES = 12
MAX_PICTURES = 5


def to_dict(result: Audited) -> dict[str, Any]:
    """For machines: the numbers, the ledger, the faults; the rest is in audit.json."""
    document = result.document
    keep = ("value", "low", "high")
    return {
        "ledger": document["ledger"], "pixels": document["pixels"], "faults": document["faults"],
        "trials": document["trials"],
        "metrics": {
            name: {key: metric[key] for key in keep} for name, metric in document["metrics"].items()
        },
        "iou": {entry["name"]: entry["iou"]["value"] for entry in document["classes"]},
        "missed": list(result.missed), "files": result.files,
        **({"corrections": changed} if (changed := document.get("corrections")) else {}),
    }  # fmt: skip


def text(result: Audited, *, done_now: int, seconds: float) -> str:
    """The ledger, what looks wrong, the numbers with intervals and definitions, the verdict."""
    ledger = _ledger(result, done_now, seconds)
    changed = corrections_lines(result.document.get("corrections"), MAX_CLASSES)
    wrong = [*_faults(result), *_undecided(result)]
    return "\n".join([*ledger, *wrong, *changed, *_numbers(result), *_verdict(result)])


def _ledger(result: Audited, done_now: int, seconds: float) -> Iterator[str]:
    ledger = result.document["ledger"]
    yield (
        f"pairs {ledger['pairs']:,} = compared {ledger['ok']:,} + failed {ledger['failed']:,} "
        f"in {seconds:.1f} s"
    )
    if done_now < ledger["pairs"]:
        yield f"  {ledger['pairs'] - done_now:,} of them had been audited before"
    if ledger["failed"]:
        kinds = ", ".join(f"{code} {count:,}" for code, count in ledger["failures"].items())
        yield f"  failed: {kinds}"
        for row in result.document["failed_pairs"][:MAX_EXAMPLES]:
            yield f"    {row['error_message']}"


def _numbers(result: Audited) -> Iterator[str]:
    # Where a report was written it holds the others; without one this is all there is.
    for metric in shown_metrics(result.document, on_console=bool(result.files)):
        yield f"  {metric['title']:<28} {with_interval(metric):<26} {metric['definition']}"


def _faults(result: Audited) -> Iterator[str]:
    faults = result.document["faults"]
    for fault in faults[:MAX_FAULTS]:
        yield f"  ! {fault['name']}: {fault['message']}"
    if len(faults) > MAX_FAULTS:
        yield f"  ! and {len(faults) - MAX_FAULTS} more"


def _undecided(result: Audited) -> Iterator[str]:
    trials = result.document["trials"]
    if trials["undecided"]:
        kinds = ", ".join(f"{name} {one['files']:,}" for name, one in trials["reasons"].items())
        yield f"  {count_of(trials['undecided'], 'pair')} could not show a turn or a shift: {kinds}"


def _verdict(result: Audited) -> Iterator[str]:
    for sentence in result.missed:
        yield f"  below --fail-under: {sentence}"
    for name, path in result.files.items():
        yield f"  {name:<12} {path}"


def comparison_text(moved: dict[str, Any]) -> str:
    """Every metric before and after, the change with its interval; then the classes moved most."""
    pictures = moved["pictures"]
    lines = [
        f"{count_of(pictures['common'], 'picture')} in both ({pictures['before']:,} before, "
        f"{pictures['after']:,} after); * = p < 0.05, paired bootstrap"
    ]
    if moved["other_truth"]:
        lines.append(f"  {moved['other_truth']:,} more left out: their truths differ")
    truths = moved["truths"]
    if truths["by_class_map"]:
        lines.append(f"  {truths['by_class_map']:,} with the same truth, by its hash")
    if truths["note"]:
        lines.append(f"  ! {printable(truths['note'])}")
    for metric in moved["metrics"].values():
        if metric["change"] is not None:
            lines.append(_moved(metric["title"], metric))
    classes = [row for row in moved["classes"] if row["change"]]
    if classes:
        lines.append("IoU of classes, largest change first")
        lines += [_moved(row["name"], row) for row in classes[:MAX_CLASSES]]
    for direction in ("worse", "better"):
        rows = moved[direction][:MAX_PICTURES]
        lines += [f"pictures that got {direction} most"] if rows else []
        lines += [
            f"  {printable(row['key'])}  mIoU {number(row['before'])} -> {number(row['after'])}"
            for row in rows
        ]
    lines += [f"  {name:<12} {path}" for name, path in moved.get("files", {}).items()]
    return "\n".join(lines)


def _moved(title: str, row: dict[str, Any]) -> str:
    star = "*" if row["significant"] else " "
    p_value = "–" if row["p"] is None else f"{row['p']:.3f}"
    return (
        f"  {title:<28} {number(row['before'])} -> {number(row['after'])}  "
        f"{row['change']:+.4f}{star} [{number(row['low'])}, {number(row['high'])}]  p {p_value}"
    )
