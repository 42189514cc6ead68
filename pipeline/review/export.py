"""Decisions as files that other commands and programs take: lists of keys, CSV, Parquet."""

import csv
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from maskmill.pipeline.review.decisions import Verdict, read_verdicts
from maskmill.pipeline.review.query import DECISIONS
from maskmill.schemas.tables.columns import undescribed
from maskmill.schemas.tables.review import REVIEWED
from maskmill.schemas.text import inert_cell

LISTS: Final = {decision: f"{decision}.txt" for decision in DECISIONS}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written. ``unlisted`` are keys with a line break: no line of a list can hold them,
    the tables do."""

    files: dict[str, str]
    counts: dict[str, int]
    notes: int
    unlisted: tuple[str, ...]


def export_decisions(folder: Path, out: Path) -> Exported:
    """Write ``accepted.txt``, ``rejected.txt``, ``flagged.txt``, ``decisions.csv`` and
    ``decisions.parquet`` into ``out`` from the decisions kept in ``folder``; keys in order.

    Raises:
        SettingsError: nobody has decided anything.
    """
    verdicts = [one for one in read_verdicts(folder) if one.decision or one.note]
    out.mkdir(parents=True, exist_ok=True)
    files = {}
    for decision, name in LISTS.items():
        keys = [one.key for one in verdicts if one.decision == decision and _has_line(one.key)]
        files[decision] = _write(out / name, "".join(f"{key}\n" for key in keys).encode())
    files["csv"] = _write(out / "decisions.csv", _to_csv(verdicts))
    files["parquet"] = _write(out / "decisions.parquet", _to_parquet(verdicts))
    return Exported(
        files=files,
        counts={name: sum(one.decision == name for one in verdicts) for name in DECISIONS},
        notes=sum(bool(one.note) for one in verdicts),
        unlisted=tuple(one.key for one in verdicts if not _has_line(one.key)),
    )


def _has_line(key: str) -> bool:
    return len(key.splitlines()) == 1


def _to_csv(verdicts: list[Verdict]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(REVIEWED.names)
    for one in verdicts:
        writer.writerow([inert_cell(str(value)) for value in asdict(one).values()])
    return stream.getvalue().encode("utf-8", "surrogateescape")


def _to_parquet(verdicts: list[Verdict]) -> bytes:
    table = pa.Table.from_pylist([asdict(one) for one in verdicts], schema=undescribed(REVIEWED))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def _write(path: Path, data: bytes) -> str:
    """Whole or not at all: another command may be reading it."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    temporary.replace(path)
    return str(path)
