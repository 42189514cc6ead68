"""Pairs audited without an engine: the operator over the blocks of a manifest."""

from tempfile import TemporaryDirectory

import pyarrow as pa

from maskmill.pipeline.audit.job import ROWS
from maskmill.pipeline.audit.manifest import audit_layout, pair_manifest
from maskmill.pipeline.audit.operator import AuditPairs, AuditSettings
from maskmill.pipeline.runs.commit import CommitItems
from maskmill.pipeline.runs.pending import pending_blocks
from maskmill.schemas.tables.audit import PAIRS


def manifest_of(rows, block_pairs=3, **options):
    """The manifest of PAIRS rows, which may lack columns."""
    rows = [dict.fromkeys(PAIRS.names) | row for row in rows]
    return pair_manifest([pa.Table.from_pylist(rows, schema=PAIRS)], block_pairs, **options)


def with_manifest(layout, rows, block_pairs=3):
    """The same, in its place."""
    manifest = manifest_of(rows, block_pairs)
    manifest.put(layout)
    return manifest


def pending_of(layout, manifest, **options):
    """What is still to do of it."""
    return pending_blocks(layout, manifest.sizes, ROWS, **options)


def operator(layout, settings: AuditSettings, session="one"):
    """What a worker does to a block."""
    return CommitItems(layout=layout, session=session, table=ROWS, work=AuditPairs(settings))


def audit_rows(layout, rows, settings: AuditSettings):
    """PAIRS rows -> AUDIT rows."""
    operator(layout, settings)(pending_of(layout, with_manifest(layout, rows)))
    return [row for table in layout.committed_rows() for row in table.to_pylist()]


def audited(rows, settings: AuditSettings):
    """As :func:`audit_rows`, in a folder that is gone afterwards."""
    with TemporaryDirectory() as folder:
        return audit_rows(audit_layout(folder), rows, settings)
