"""What is still to do in a run: the manifest minus the committed rows."""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.rows import RowTable
from maskmill.schemas.tables.blocks import PENDING


def pending_blocks(
    layout: RunLayout,
    sizes: Sequence[int],
    table: RowTable,
    *,
    retry_failed: bool = False,
    outputs: Iterable[str] = (),
) -> pa.Table:
    """One row of schema PENDING per block with anything to do, in block order.

    Args:
        layout: the run folder.
        sizes: items of each block of the manifest.
        table: what the committed rows are.
        retry_failed: take the failed items of committed blocks as well.
        outputs: names that every ok row must have among its ``files``; rows that lack one are
            done again, for files asked for later.
    """
    committed = set(layout.committed_blocks())
    rows: list[dict[str, object]] = []
    for block, size in enumerate(sizes):
        if block not in committed:
            rows.append({"block": block, "items": size, "ids": None})
        elif retry_failed or outputs:
            ids = _again(layout, block, table, retry_failed, frozenset(outputs))
            if ids:
                rows.append({"block": block, "items": len(ids), "ids": ids})
    return pa.Table.from_pylist(rows, schema=PENDING)


def num_items(pending: pa.Table) -> int:
    """How many items a PENDING table holds."""
    return int(pc.sum(pending["items"]).as_py() or 0)


def _again(
    layout: RunLayout, block: int, table: RowTable, retry_failed: bool, outputs: frozenset[str]
) -> list[int]:
    columns = [table.id, "status", *(["files"] if outputs else [])]
    rows = layout.committed_block(block, columns).to_pylist()
    return [row[table.id] for row in rows if _is_due(row, retry_failed, outputs)]


def _is_due(row: dict[str, Any], retry_failed: bool, outputs: frozenset[str]) -> bool:
    if row["status"] == "failed":
        return retry_failed
    return not outputs <= {file["name"] for file in row.get("files") or ()}
