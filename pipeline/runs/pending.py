"""What is still to do in a run: the manifest minus the committed rows."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
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
    done = np.zeros(len(sizes), np.bool_)
    committed = np.array(layout.committed_blocks(), np.int64)
    done[committed[committed < len(sizes)]] = True
    blocks = np.flatnonzero(~done)
    items = np.asarray(sizes, np.int64)[blocks]
    whole = [pa.array(blocks), pa.array(items), pa.nulls(len(blocks), PENDING.field("ids").type)]
    pending = pa.table(whole, schema=PENDING)
    if not retry_failed and not outputs:
        return pending
    wanted = frozenset(outputs)
    again = (
        {"block": block, "items": len(ids), "ids": ids}
        for block in np.flatnonzero(done).tolist()
        if (ids := _again(layout, block, table, retry_failed, wanted))
    )
    parts = pa.Table.from_pylist(list(again), schema=PENDING)
    return pa.concat_tables([pending, parts]).sort_by("block").combine_chunks()


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
