"""Proof that a conversion's rows, files and documents agree; every disagreement is a sentence."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import pyarrow as pa

from maskmill.pipeline.convert.conversion import DATASET_FOLDER
from maskmill.pipeline.convert.finish import committed_samples
from maskmill.pipeline.datasets.package_limits import PackageLimits
from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import WriteContext
from maskmill.pipeline.prelabel.proof import Checked
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.pending import count_ledger
from maskmill.pipeline.runs.record import RunRecord, load_record
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap

COLUMNS = ["image_id", "key", "status", "error_code", "files", "files_sha256"]


def verify_conversion(layout: RunLayout) -> Iterator[Checked]:
    """Check a conversion block by block, then its ledger, then its documents.

    Raises:
        SettingsError: the folder holds no conversion.
    """
    record = load_record(layout)
    if record is None or record.command != "convert":
        raise SettingsError(f"{layout.root} holds no conversion")
    manifest = layout.read_table(layout.manifest, ["image_id", "key"])
    expected = dict(zip(manifest["image_id"].to_pylist(), manifest["key"].to_pylist(), strict=True))
    for block in layout.committed_blocks():
        yield _check_rows(layout, layout.committed_block(block, COLUMNS), expected)
    if expected:
        yield Checked(0, (f"{len(expected)} samples have no row; run the same command again",))
    yield Checked(0, tuple(_ledger_problems(layout, record, manifest.num_rows)))
    yield Checked(0, tuple(_document_problems(layout, record)))


def _check_rows(layout: RunLayout, rows: pa.Table, expected: dict[int, str]) -> Checked:
    problems = []
    for row in rows.to_pylist():
        key = expected.pop(row["image_id"], None)
        if key != row["key"]:
            problems.append(f"row {row['image_id']} is of {row['key']}, the manifest says {key}")
        if (row["status"] == "failed") != (row["error_code"] is not None):
            problems.append(f"{row['key']}: status {row['status']}, code {row['error_code']}")
        problems += _file_problems(layout, row)
    return Checked(rows.num_rows, tuple(problems))


def _file_problems(layout: RunLayout, row: dict[str, Any]) -> Iterator[str]:
    for path, digest in zip(row["files"] or [], row["files_sha256"] or [], strict=True):
        try:
            found = hashlib.sha256(layout.read(path)).hexdigest()
        except FileNotFoundError:
            yield f"{path} is missing; its row says it was written"
            continue
        if found != digest:
            yield f"{path} is not what was written: another SHA-256"


def _ledger_problems(layout: RunLayout, record: RunRecord, inputs: int) -> Iterator[str]:
    if record.state != "finished":
        yield "the run is not finished; run the same command again"
    ledger = count_ledger(layout, inputs)
    told = {name: record.ledger.get(name) for name in ("inputs", "ok", "failed")}
    counted = {"inputs": ledger.inputs, "ok": ledger.ok, "failed": ledger.failed}
    if told != counted:
        yield f"run.json says {told}, the rows {counted}"


@dataclass(frozen=True, slots=True)
class _Comparison:
    """An OutputFolder that writes nothing: it compares with what is there."""

    layout: RunLayout
    problems: list[str]

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        with tempfile.TemporaryFile() as spool:
            yield cast(BinaryIO, spool)
            spool.seek(0)
            made = _digest_of(cast(BinaryIO, spool))
        try:
            there = hashlib.sha256(self.read(path)).hexdigest()
        except FileNotFoundError:
            self.problems.append(f"{DATASET_FOLDER}/{path} is missing")
            return
        if made != there:
            self.problems.append(f"{DATASET_FOLDER}/{path} is not what the rows give")

    def read(self, path: str) -> bytes:
        return self.layout.read(f"{DATASET_FOLDER}/{path}")


def _document_problems(layout: RunLayout, record: RunRecord) -> list[str]:
    """The finisher's documents, made again and compared byte for byte."""
    problems: list[str] = []
    writer = dataset_format(str(record.identity["to"])).load_writer()
    info = {name: str(record.info[name]) for name in sorted(record.info) if name != "check"}
    images, size = record.identity.get("package", (None, None))
    context = WriteContext(
        labels=LabelMap.from_dict(record.label_map),
        max_loss=float(record.identity["max_loss"]),
        limits=PackageLimits(images=images, bytes=size),
        info=info,
    )
    writer.finish(committed_samples(layout), context, _Comparison(layout, problems))
    return problems


def _digest_of(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := stream.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()
