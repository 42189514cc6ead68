"""Proof that a run's rows, files, COCO document and inputs agree; each misfit is a sentence."""

import hashlib
import posixpath
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa

from maskmill.pipeline.masks.rle import decode
from maskmill.pipeline.prelabel.documents import documents_of
from maskmill.pipeline.prelabel.writers.mask_file import png_to_mask
from maskmill.pipeline.prelabel.writers.registry import SIDE_TABLES, WRITERS
from maskmill.pipeline.runs.checks import (
    Checked,
    ExpectedRows,
    checked,
    record_problems,
    record_to_prove,
)
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import manifest_blocks
from maskmill.pipeline.runs.record import RunRecord
from maskmill.pipeline.runs.shards import stray_shards
from maskmill.pipeline.selection.feature_table import feature_problems
from maskmill.pipeline.sources.entries import Tally, storable
from maskmill.pipeline.sources.folder import walk
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.pipeline.storage.sorted_table import SortedTable
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.errors import FileFailure, RunFailed
from maskmill.schemas.labels import LabelMap
from maskmill.schemas.tables.prelabel import MANIFEST

THREADS = 4
_AT_ONCE = 4096
_OUTPUTS = pa.schema([MANIFEST.field("output")])
_FILES = pa.schema([("output", pa.string()), ("path", pa.string())])


def verify_run(layout: RunLayout, *, inputs: bool = False) -> Iterator[Checked]:
    """Check a run block by block; the last steps are the whole-run ones.

    Args:
        layout: the run folder.
        inputs: also read every input again and compare its hash.

    Raises:
        SettingsError: the folder holds no run.
    """
    record = record_to_prove(layout)
    labels = LabelMap.from_dict(record.label_map)
    expected = ExpectedRows(layout, "image_id")
    yield checked(0, record_problems(layout, record, expected.inputs))
    for block in layout.committed_blocks():
        yield _check_block(layout, block, expected, labels, inputs)
    yield checked(0, expected.missing())
    yield checked(0, _stray_files(layout))
    yield checked(0, _document_problems(layout, record, labels))


def _check_block(
    layout: RunLayout, block: int, expected: ExpectedRows, labels: LabelMap, inputs: bool
) -> Checked:
    table = layout.committed_block(block)
    problems = list(expected.problems(block, table))
    rows = table.to_pylist()
    problems += feature_problems(layout, block, rows)
    with ThreadPoolExecutor(THREADS) as threads:  # hashing, PNG and RLE release the lock
        checks = threads.map(lambda row: list(_row_problems(layout, row, labels, inputs)), rows)
        problems += [
            f"{row['key']}: {text}"
            for row, texts in zip(rows, checks, strict=True)
            for text in texts
        ]
    return checked(len(rows), problems)


def _row_problems(
    layout: RunLayout, row: dict[str, Any], labels: LabelMap, inputs: bool
) -> Iterator[str]:
    if row["status"] == "failed":
        return
    if inputs:
        yield from _input_problems(row)
    for file in row["files"] or ():
        if file["name"] in SIDE_TABLES:  # of the whole block: looked at once
            continue
        yield from _checked_bytes(layout, file["path"], file["sha256"])[1]
    data, problems = _checked_bytes(layout, row["mask_path"], row["mask_sha256"])
    yield from problems
    if data is None:
        return
    try:
        mask = png_to_mask(data, labels, name=row["mask_path"])
    except FileFailure as failure:
        yield str(failure)
        return
    yield from _mask_problems(row, mask, labels)


def _checked_bytes(layout: RunLayout, path: str, digest: str) -> tuple[bytes | None, list[str]]:
    """The file, None where it is missing, and what is wrong with it."""
    try:
        data = layout.read(path)
    except FileNotFoundError:
        return None, [f"{path} is missing"]
    if hashlib.sha256(data).hexdigest() != digest:
        return data, [f"{path} is not the file that was written: its hash differs"]
    return data, []


def _input_problems(row: dict[str, Any]) -> Iterator[str]:
    try:
        if hashlib.sha256(read_bytes(row["uri"])).hexdigest() != row["sha256"]:
            yield f"{row['uri']} has changed since it was labelled"
    except FileFailure as failure:
        yield str(failure)


def _mask_problems(row: dict[str, Any], mask: LabelMask, labels: LabelMap) -> Iterator[str]:
    """The PNG against the row: size, pixels per class, and every segment's RLE, area and box."""
    size = [row["height"], row["width"]]
    if list(mask.shape) != size:
        found = f"{mask.shape[1]}x{mask.shape[0]}"
        yield f"{row['mask_path']} is {found}, the image {size[1]}x{size[0]}"
        return
    counts = np.bincount(mask.ravel(), minlength=labels.ignore_index + 1)
    pixels = {entry["index"]: entry["pixels"] for entry in row["classes"]}
    in_mask = {int(v): int(counts[v]) for v in np.flatnonzero(counts) if v != labels.ignore_index}
    if pixels != in_mask:
        yield f"the row counts {pixels} pixels per class, the mask {in_mask}"
    classes = {entry.category_id: entry for entry in labels.classes if not entry.is_background}
    drawn = np.zeros(len(labels.classes), np.int64)
    for segment in row["segments"]:
        entry = classes.get(segment["category_id"])
        if entry is None:
            yield f"a segment has the unknown category {segment['category_id']}"
            continue
        try:
            inside = decode({"size": size, "counts": segment["counts"]}, name=row["key"])
        except FileFailure as failure:
            yield str(failure)
            continue
        drawn[entry.index] += inside.sum()
        yield from _segment_problems(segment, inside, mask == entry.index)
    for entry in classes.values():
        if drawn[entry.index] != counts[entry.index]:
            covered = f"{drawn[entry.index]} pixels, the mask has {counts[entry.index]}"
            yield f"the segments of {entry.name} cover {covered}"


def _segment_problems(segment: dict[str, Any], inside: Any, of_class: Any) -> Iterator[str]:
    if (inside & ~of_class).any():
        yield f"a segment of category {segment['category_id']} lies outside its class in the mask"
    ys, xs = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(ys):
        yield f"a segment of category {segment['category_id']} is empty"
        return
    bbox = [int(xs[0]), int(ys[0]), int(xs[-1] - xs[0] + 1), int(ys[-1] - ys[0] + 1)]
    if segment["area"] != int(inside.sum()) or segment["bbox"] != bbox:
        category = segment["category_id"]
        yield f"a segment of category {category} has another area or box than its pixels"


def _stray_files(layout: RunLayout) -> Iterator[str]:
    """Files among the outputs that no image of the manifest owns."""
    folders = [spec.folder for spec in WRITERS.values() if layout.exists(spec.folder)]
    if folders:
        outputs = SortedTable(manifest_blocks(layout, ["output"]), _OUTPUTS, by="output")
        for folder in folders:
            files = SortedTable(_files_in(layout, folder), _FILES, by="output")
            yield from _without_owner(files, outputs)
    for shard in stray_shards(layout):
        yield f"{layout.path(shard)} holds no file that a row speaks of"


def _files_in(layout: RunLayout, folder: str) -> Iterator[pa.Table]:
    """The files of a folder of outputs, some thousands at a time."""
    found = walk(layout.uri(folder), exclude=(), tally=Tally())
    while some := [name for name, _ in islice(found, _AT_ONCE)]:
        paths = [storable(layout.path(f"{folder}/{name}")) for name in some]
        outputs = [storable(posixpath.splitext(name)[0]) for name in some]
        yield pa.table([outputs, paths], schema=_FILES)


def _without_owner(files: SortedTable, outputs: SortedTable) -> Iterator[str]:
    """Files of outputs that are none; both tables are gone through side by side."""
    owners = (output for table in outputs for output in table["output"].to_pylist())
    owner = next(owners, None)
    for table in files:
        for output, path in zip(*(column.to_pylist() for column in table.columns), strict=True):
            while owner is not None and owner < output:
                owner = next(owners, None)
            if owner != output:
                yield f"{path} belongs to no image of this run"


def _document_problems(layout: RunLayout, record: RunRecord, labels: LabelMap) -> Iterator[str]:
    """Documents are a function of the rows: made again, they must come out byte for byte."""
    if record.state != "finished":
        return
    for document in documents_of(layout, record.settings.get("coco") or "one"):
        if not layout.exists(document.path):
            yield f"{document.path} is missing"
            continue
        with tempfile.TemporaryFile() as again:
            try:
                document.write(cast(BinaryIO, again), labels, record.info)
            except RunFailed as failure:
                yield f"{document.path} cannot be made from the rows: {failure}"
                continue
            again.seek(0)
            with layout.filesystem.open_input_stream(layout.path(document.path)) as there:
                if not _same_bytes(there, cast(BinaryIO, again)):
                    yield f"{document.path} is not what the rows say"


def _same_bytes(first: Any, second: Any) -> bool:
    while True:
        one, other = first.read(1 << 20), second.read(1 << 20)
        if one != other:
            return False
        if not one:
            return True
