"""Proof that a conversion's rows, files and documents agree; every disagreement is a sentence."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast

from maskmill.pipeline.convert.conversion import DATASET_FOLDER
from maskmill.pipeline.convert.finish import committed_samples
from maskmill.pipeline.datasets.package_limits import PackageLimits
from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import WriteContext
from maskmill.pipeline.runs.checks import (
    Checked,
    ExpectedRows,
    checked,
    record_problems,
    record_to_prove,
)
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import RunRecord
from maskmill.schemas.labels import LabelMap

OWN_INFO: Final = ("check", "counts")
"""What run.json tells of a conversion and its documents do not repeat."""
COLUMNS = ["image_id", "key", "status", "error_code", "error_message", "files", "files_sha256"]


def verify_conversion(layout: RunLayout) -> Iterator[Checked]:
    """Check a conversion: its record, its rows block by block with their files, its documents.

    Raises:
        SettingsError: the folder holds no run.
    """
    record = record_to_prove(layout)
    expected = ExpectedRows(layout, "image_id")
    yield checked(0, record_problems(layout, record, expected.inputs))
    for block in layout.committed_blocks():
        yield _check_block(layout, block, expected)
    yield checked(0, expected.missing())
    yield checked(0, _document_problems(layout, record))


def _check_block(layout: RunLayout, block: int, expected: ExpectedRows) -> Checked:
    rows = layout.committed_block(block, COLUMNS)
    problems = list(expected.problems(block, rows))
    for row in rows.to_pylist():
        problems += _file_problems(layout, row)
    return checked(rows.num_rows, problems)


def _file_problems(layout: RunLayout, row: dict[str, Any]) -> Iterator[str]:
    for path, digest in zip(row["files"] or [], row["files_sha256"] or [], strict=True):
        try:
            found = hashlib.sha256(layout.read(path)).hexdigest()
        except FileNotFoundError:
            yield f"{path} is missing; its row says it was written"
            continue
        if found != digest:
            yield f"{path} is not what was written: another SHA-256"


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
    info = {name: str(record.info[name]) for name in sorted(record.info) if name not in OWN_INFO}
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
