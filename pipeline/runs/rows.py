"""What the committed rows of a kind of run look like, and how a block of them is committed."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.runs.layout import RunLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTable:
    """The table of a kind of run: its schema, and the column of ids.

    The schema has the columns ``key``, ``block``, ``status``, ``error_code``, ``error_message``,
    ``attempts`` and ``worker`` beside the id.
    """

    schema: pa.Schema
    id: str = "image_id"


def commit_block(layout: RunLayout, block: int, rows: pa.Table, table: RowTable) -> None:
    """Put the rows of a block on disk: from here on its items are done.

    Rows of the block that are already there and not in ``rows`` are kept: a retry of failed ones
    replaces just those.
    """
    try:
        old = layout.committed_block(block)
    except FileNotFoundError:
        pass
    else:
        replaced = pc.is_in(old[table.id], rows[table.id].combine_chunks())
        rows = pa.concat_tables([old.filter(pc.invert(replaced)), rows]).sort_by(table.id)
    layout.write_table(layout.block_path(block), rows.cast(table.schema))
