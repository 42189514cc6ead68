"""The pyarrow.Schema of every table of a conversion. Column comments live beside the fields."""

import pyarrow as pa

CONVERSION_MANIFEST = pa.schema([
    pa.field("image_id", pa.int64(), False),  # position in sorted key order, from 1
    pa.field("key", pa.string(), False),      # the picture's path in the dataset, posix
    pa.field("block", pa.int64(), False),     # unit of work: commits whole or not at all
    pa.field("output", pa.string(), False),   # the key without extension, unique in the run
    pa.field("split", pa.string(), False),    # train, val, …; empty without splits
    pa.field("payload", pa.large_string()),   # where the reader finds the sample: its own JSON
])  # fmt: skip
"""One row per sample of the source."""

CONVERSION_WORK = pa.schema([
    pa.field("block", pa.int64(), False),
    pa.field("samples", pa.int64(), False),        # how many are to do
    pa.field("image_ids", pa.list_(pa.int64())),   # which of the block; null = all
])  # fmt: skip
"""What is still to do: numbers only. Workers find the samples in the manifest, by block."""

CONVERSION = pa.schema([
    pa.field("image_id", pa.int64(), False),
    pa.field("key", pa.string(), False),
    pa.field("block", pa.int64(), False),
    pa.field("output", pa.string(), False),
    pa.field("split", pa.string(), False),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("notes", pa.list_(pa.string())),        # what was decided on the way
    pa.field("status", pa.string(), False),          # ok | failed
    pa.field("error_code", pa.string()),
    pa.field("error_message", pa.string()),
    pa.field("attempts", pa.int32()),                # how often the sample's block was started
    pa.field("files", pa.list_(pa.string())),        # relative to OUT, sorted
    pa.field("files_sha256", pa.list_(pa.string())),  # of each of ``files``
    pa.field("record", pa.large_string()),           # the sample's part of the finisher's document
    pa.field("classes", pa.list_(pa.int32())),       # class indices in the mask that was written
    pa.field("ignore_pixels", pa.int64()),           # ignore pixels in the mask that was written
    pa.field("overlap_pixels", pa.int64()),          # claimed by several classes in the source
    pa.field("segment_ious", pa.list_(pa.float64())),  # IoU each drawn segment kept; 1.0 = exact
    pa.field("min_iou", pa.float64()),               # the smallest of them; null without segments
    pa.field("settings_fingerprint", pa.string()),
    pa.field("tool_version", pa.string()),
    pa.field("read_ms", pa.float64()),
    pa.field("write_ms", pa.float64()),
    pa.field("worker", pa.string()),                 # host:pid
])  # fmt: skip
"""One row per sample. The commit record: a sample is done when its row is on disk."""

CHECK = pa.schema([
    pa.field("image_id", pa.int64(), False),
    pa.field("key", pa.string(), False),
    pa.field("block", pa.int64(), False),
    pa.field("pixels", pa.int64()),           # compared
    pa.field("differing", pa.int64()),        # class pixels read back as another class
    pa.field("ignore_lost", pa.int64()),      # ignore pixels read back as a class
    pa.field("first", pa.string()),           # where the first one is
    pa.field("checked_by", pa.string()),      # whose decoders read it back
    pa.field("error_code", pa.string()),      # why it could not be compared
    pa.field("error_message", pa.string()),
])  # fmt: skip
"""One row per sample that --check read back."""
