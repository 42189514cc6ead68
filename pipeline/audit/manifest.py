"""The work of an audit: its manifest, what of it is still to do, and what makes it the same run."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.audit.operator import AuditSettings
from maskmill.pipeline.audit.sides import AuditSide
from maskmill.pipeline.runs.identity import digest_of
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import load_record
from maskmill.pipeline.storage.filesystems import CONTAINERS, is_uri, local_path
from maskmill.pipeline.storage.members import split_member_uri
from maskmill.schemas.errors import RunRefused
from maskmill.schemas.tables.audit import PAIR_MANIFEST, PAIRS
from maskmill.schemas.text import count_of

Row = dict[str, Any]

AUDIT_VERSION = 3
"""Raised whenever the same masks and settings would give other rows than before."""

_PRINTS_SINCE = 3  # version in which masks are known by the hash of their runs

ROWS = "pairs"
"""Folder of the committed AUDIT rows in the OUT of an audit."""

_CHUNK = 512
_MASK_COLUMNS = ("prediction_uri", "truth_uri", "confidence_uri")


def audit_layout(root: str) -> RunLayout:
    """The run folder of an audit: as any other, but that its rows are those of pairs."""
    return RunLayout(root, metadata=ROWS)


def has_mask_prints(layout: RunLayout) -> bool:
    """Whether the hashes of an audit's rows are those of `mask_print`; older ones are of pixels."""
    record = load_record(layout)
    version = record.identity.get("audit_version", 0) if record else 0
    return bool(version >= _PRINTS_SINCE)


def pair_manifest(pairs: Iterable[Row], block_pairs: int, *, out: str | None = None) -> pa.Table:
    """PAIR_MANIFEST of PAIRS rows with ids from 1; columns, so that many pairs stay small.

    What lies in the folder ``out`` does not count as part of a dataset that holds it.
    """
    stamps = _Stamps(local_path(out) if out else None)
    source, batches = iter(pairs), []
    while chunk := list(islice(source, _CHUNK)):
        rows = [
            {**row, "block": (row["pair_id"] - 1) // block_pairs, "stamp": stamps.of_pair(row)}
            for row in chunk
        ]
        batches.append(pa.RecordBatch.from_pylist(rows, schema=PAIR_MANIFEST))
    return pa.Table.from_batches(batches, schema=PAIR_MANIFEST)


def refuse_changed_masks(layout: RunLayout, manifest: pa.Table, *, retry_failed: bool) -> None:
    """Refuse to continue over masks that are not those the audit began with.

    Args:
        layout: the run folder, with a manifest of the same pairs.
        manifest: schema PAIR_MANIFEST, made now.
        retry_failed: files of failed pairs may have been mended.

    Raises:
        RunRefused: saying how many pairs have changed, and naming one.
    """
    old = layout.read_table(layout.manifest, ["stamp"])
    changed = manifest.filter(pc.not_equal(manifest["stamp"], old["stamp"]))
    if retry_failed:
        failed = pa.array(_failed_ids(layout), pa.int64())
        changed = changed.filter(pc.invert(pc.is_in(changed["pair_id"], failed)))
    if changed.num_rows:
        told = count_of(changed.num_rows, "pair has", "pairs have")
        raise RunRefused(
            f"{layout.root} holds an audit of other masks: {told} changed since, "
            f"first {changed['key'][0].as_py()}. --overwrite begins anew, another --out keeps "
            "both; files of failed pairs may be mended for --retry-failed"
        )


def _failed_ids(layout: RunLayout) -> list[int]:
    found: list[int] = []
    for rows in layout.committed_rows(["pair_id", "status"]):
        found += rows.filter(pc.equal(rows["status"], "failed"))["pair_id"].to_pylist()
    return found


def audit_identity(settings: AuditSettings, manifest: pa.Table, block_pairs: int) -> Row:
    """Everything that decides the rows but the masks' content; the fingerprint is over this.

    How numbers are made of the rows is no part of it.
    """
    return {
        "inputs": f"{manifest.num_rows} pairs, {_digest_of_pairs(manifest)}",
        "labels": digest_of(settings.labels.to_dict()),
        "prediction": _side(settings.prediction), "truth": _side(settings.truth),
        "ignore": sorted(settings.ignore), "resize": settings.resize,
        "measures": asdict(settings.measures),
        "hash_images": settings.hash_images, "block_pairs": block_pairs,
        "audit_version": AUDIT_VERSION,
    }  # fmt: skip


class _Stamps:
    """Size and time of change of files on disk; of containers and datasets as a whole."""

    def __init__(self, exclude: str | None) -> None:
        self._exclude = exclude
        self._folders: dict[str, str] = {}

    def of_pair(self, row: Row) -> str:
        """Both masks and the confidences; empty parts for what is missing or not on a disk."""
        return "; ".join(self._of(row[name]) for name in _MASK_COLUMNS)

    def _of(self, uri: str | None) -> str:
        path = _path_on_disk(uri) if uri else None
        if path is None:
            return ""
        if path not in self._folders and not os.path.isdir(path):  # noqa: PTH112
            return _stamp(path)
        if path not in self._folders:
            self._folders[path] = self._of_folder(path)
        return self._folders[path]

    def _of_folder(self, path: str) -> str:
        digest = hashlib.sha256()
        for folder, below, names in os.walk(path):
            below[:] = sorted(name for name in below if f"{folder}/{name}" != self._exclude)
            for file in sorted(f"{folder}/{name}" for name in names):
                digest.update(f"{file}\0{_stamp(file)}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def _path_on_disk(uri: str) -> str | None:
    if is_uri(uri) and uri.partition("://")[0] in CONTAINERS:
        uri, _ = split_member_uri(uri)
    return local_path(uri)


def _stamp(path: str) -> str:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return "gone"
    return f"{status.st_size} {status.st_mtime_ns}"


def _side(side: AuditSide) -> Row:
    mapping = None if side.mapping is None else sorted(side.mapping.items())
    labels = None if side.labels is None else digest_of(side.labels.to_dict())
    return {"format": side.format, "labels": labels, "mapping": digest_of(mapping)}


def _digest_of_pairs(manifest: pa.Table) -> str:
    digest = hashlib.sha256()
    for batch in manifest.select(PAIRS.names).to_batches(max_chunksize=_CHUNK):
        for row in batch.to_pylist():
            digest.update(_text(row))
    return digest.hexdigest()


def _text(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=True).encode()
