"""What travels between the stages: one table row per block, so that no block is ever split."""

import pyarrow as pa

from maskmill.schemas.tables.columns import column

PENDING = pa.schema(
    [
        column("block", pa.int64(), "number of the block in the manifest", nullable=False),
        column("items", pa.int64(), "how many of it are to do", nullable=False),
        column("ids", pa.list_(pa.int64()), "which of them; null = all"),
    ]
)
"""What is still to do: numbers only. Workers find the items in the manifest, by block."""

PARCEL = pa.schema(
    [
        column("block", pa.int64(), "number of the block in the manifest", nullable=False),
        column("items", pa.large_binary(), "its images, as we pickle them", nullable=False),
    ]
)
"""A block under way; ``items`` is what pipeline/prelabel/parcels.py packs."""

TALLY = pa.schema(
    [
        column("block", pa.int64(), "number of the block in the manifest", nullable=False),
        column("key", pa.string(), "of the item", nullable=False),
        column("error_code", pa.string(), "null for an ok item"),
        column("error_message", pa.string(), "what failed, and what to do"),
    ]
)
"""What the driver hears of a committed block: one small row per item."""
