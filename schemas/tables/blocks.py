"""What travels between the stages: one table row per block, so that no block is ever split."""

import pyarrow as pa

PENDING = pa.schema(
    [
        pa.field("block", pa.int64(), False),
        pa.field("items", pa.int64(), False),  # how many of it are to do
        pa.field("ids", pa.list_(pa.int64())),  # which; null = all
    ]
)
"""What is still to do: numbers only. Workers find the items in the manifest, by block."""

PARCEL = pa.schema(
    [
        pa.field("block", pa.int64(), False),
        pa.field("items", pa.large_binary(), False),
    ]
)
"""A block under way; ``items`` is what pipeline/prelabel/parcels.py packs."""

TALLY = pa.schema(
    [
        pa.field("block", pa.int64(), False),
        pa.field("key", pa.string(), False),
        pa.field("error_code", pa.string()),  # null for an ok item
        pa.field("error_message", pa.string()),
    ]
)
"""What the driver hears of a committed block: one small row per item."""
