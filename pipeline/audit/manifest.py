"""The work of an audit: its manifest, what of it is still to do, and what makes it the same run."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.audit.operator import AuditSettings
from maskmill.pipeline.audit.sides import AuditSide
from maskmill.pipeline.runs.identity import digest_of
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import ManifestSpool, manifest_blocks
from maskmill.pipeline.runs.record import load_record
from maskmill.pipeline.storage.filesystems import CONTAINERS, is_uri, local_path
from maskmill.pipeline.storage.members import split_member_uri
from maskmill.pipeline.storage.sorted_table import rows_of
from maskmill.schemas.errors import RunRefused
from maskmill.schemas.tables.audit import PAIR_MANIFEST, PAIRS
from maskmill.schemas.text import count_of

Row = dict[str, Any]

AUDIT_VERSION = 3
"""Raised whenever the same masks and settings would give other rows than before."""

_PRINTS_SINCE = 3  # version in which masks are known by the hash of their runs

ROWS = "pairs"
"""Folder of the committed AUDIT rows in the OUT of an audit."""

_MASK_COLUMNS = ("prediction_uri", "truth_uri", "confidence_uri")


def audit_layout(root: str) -> RunLayout:
    """The run folder of an audit: as any other, but that its rows are those of pairs."""
    return RunLayout(root, metadata=ROWS)


def has_mask_prints(layout: RunLayout) -> bool:
    """Whether the hashes of an audit's rows are those of `mask_print`; older ones are of pixels."""
    record = load_record(layout)
    version = record.identity.get("audit_version", 0) if record else 0
    return bool(version >= _PRINTS_SINCE)


class PairsDigest:
    """Hash of PAIRS rows in order: names, places and what is known already."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, manifest: pa.Table) -> None:
        """The next rows; they have PAIRS' columns."""
        for row in manifest.select(PAIRS.names).to_pylist():
            self._digest.update(_text(row))

    def hexdigest(self) -> str:
        """The hash of what has come so far."""
        return self._digest.hexdigest()


def pair_manifest(
    pairs: Iterable[pa.Table], block_pairs: int, *, out: str | None = None
) -> ManifestSpool:
    """PAIR_MANIFEST of PAIRS tables with ids from 1, on disk until it is put into its run.

    What lies in the folder ``out`` does not count as part of a dataset that holds it.
    """
    stamps = _Stamps(local_path(out) if out else None)
    spool = ManifestSpool(PAIR_MANIFEST, PairsDigest())
    for rows in _blocks(pairs, block_pairs):
        block = pa.array(np.full(rows.num_rows, len(spool.sizes)))
        columns = [*rows.columns, block, pa.array(stamps.of(rows), pa.string())]
        spool.add(pa.table(columns, schema=PAIR_MANIFEST))
    spool.close()
    return spool


def _blocks(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """The rows of tables, ``size`` at a time."""
    held = PAIRS.empty_table()
    for table in tables:
        held = pa.concat_tables([held, table])
        whole = held.num_rows // size * size
        yield from (held.slice(first, size) for first in range(0, whole, size))
        held = held.slice(whole)
    if held.num_rows:
        yield held


def refuse_changed_masks(layout: RunLayout, manifest: ManifestSpool, *, retry_failed: bool) -> None:
    """Refuse to continue over masks that are not those the audit began with.

    Args:
        layout: the run folder, with a manifest of the same pairs.
        manifest: schema PAIR_MANIFEST, made now.
        retry_failed: files of failed pairs may have been mended.

    Raises:
        RunRefused: saying how many pairs have changed, and naming one.
    """
    excused = _failed_pairs(layout, manifest.num_rows if retry_failed else 0)
    before = (stamp for (stamp,) in rows_of(manifest_blocks(layout, ["stamp"])))
    now = rows_of(manifest.tables(["key", "stamp"]))
    changed, first = 0, ""
    for place, (old, (key, stamp)) in enumerate(zip(before, now, strict=True)):
        if stamp != old and not (retry_failed and excused[place]):
            changed, first = changed + 1, first or key
    if changed:
        raise RunRefused(
            f"{layout.root} holds an audit of other masks: "
            f"{count_of(changed, 'pair has', 'pairs have')} changed since, first {first}. "
            "--overwrite begins anew, another --out keeps both; files of failed pairs may be "
            "mended for --retry-failed"
        )


def _failed_pairs(layout: RunLayout, count: int) -> npt.NDArray[np.bool_]:
    """Which pairs have a failed row; none is looked for where ``count`` is 0."""
    failed = np.zeros(count, np.bool_)
    for rows in layout.committed_rows(["pair_id", "status"]) if count else ():
        ids = rows.filter(pc.equal(rows["status"], "failed"))["pair_id"].to_numpy()
        failed[ids - 1] = True
    return failed


def audit_identity(settings: AuditSettings, manifest: ManifestSpool, block_pairs: int) -> Row:
    """Everything that decides the rows but the masks' content; the fingerprint is over this.

    How numbers are made of the rows is no part of it.
    """
    return {
        "inputs": f"{manifest.num_rows} pairs, {manifest.sha256}",
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

    def of(self, pairs: pa.Table) -> list[str]:
        """Both masks and the confidences; empty parts for what is missing or not on a disk."""
        rows = rows_of([pairs.select(_MASK_COLUMNS)])
        return ["; ".join(map(self._of, uris)) for uris in rows]

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


def _text(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=True).encode()
