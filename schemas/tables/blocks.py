"""What travels between the operators: one table row per block, so that no block is ever split."""

import pyarrow as pa

WORK_IMAGE = pa.struct(
    [
        pa.field("image_id", pa.int64()),
        pa.field("key", pa.string()),
        pa.field("uri", pa.string()),
        pa.field("output", pa.string()),
    ]
)

WORK = pa.schema(
    [
        pa.field("block", pa.int64(), False),
        pa.field("images", pa.list_(WORK_IMAGE), False),
    ]
)
"""What is still to do: a block and those of its images that have no committed row."""

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
        pa.field("error_code", pa.string()),  # null for an ok image
        pa.field("error_message", pa.string()),
    ]
)
"""What the driver hears of a committed block: one small row per image."""
