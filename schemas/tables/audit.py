"""The pyarrow.Schema of every table of an audit. Column comments live beside the fields."""

import pyarrow as pa

PAIRS = pa.schema([
    pa.field("pair_id", pa.int64(), False),   # position in sorted key order, from 1
    pa.field("key", pa.string(), False),      # path without extension, of the truth if there is one
    pa.field("prediction_uri", pa.string()),  # null where the prediction is missing
    pa.field("truth_uri", pa.string()),       # null where the truth is missing
    pa.field("prediction_item", pa.string()),  # where in a dataset; null for a file of its own
    pa.field("truth_item", pa.string()),
    pa.field("image_uri", pa.string()),       # the picture, where one is known
    pa.field("confidence_uri", pa.string()),  # confidences of the prediction, if any
    pa.field("error_code", pa.string()),      # why it cannot be compared, if known already
    pa.field("error_message", pa.string()),
])  # fmt: skip
"""One row per pair to be compared, and per file without a partner."""

PAIR_MANIFEST = pa.schema([
    *PAIRS,
    pa.field("block", pa.int64(), False),     # unit of work: commits whole or not at all
    pa.field("stamp", pa.string(), False),    # size and time of change of the files, on disks
])  # fmt: skip
"""The work list of an audit, in pair_id order: `manifest/manifest.parquet`."""

WORK = pa.schema(
    [
        pa.field("block", pa.int64(), False),
        pa.field("pairs", pa.list_(pa.struct(list(PAIRS))), False),
    ]
)
"""One row per block: those of its pairs that are still to do. What one task does."""

CELL = pa.struct([
    pa.field("truth", pa.int32()),       # class index; the number of classes = ignore or no class
    pa.field("prediction", pa.int32()),
    pa.field("pixels", pa.int64()),
])  # fmt: skip

STRANGE_VALUE = pa.struct([
    pa.field("side", pa.string()),       # truth | prediction
    pa.field("value", pa.int32()),       # neither a class nor ignore
    pa.field("pixels", pa.int64()),
])  # fmt: skip

CLASS_SCORE = pa.struct([
    pa.field("index", pa.int32()),
    pa.field("name", pa.string()),
    pa.field("truth_pixels", pa.int64()),
    pa.field("predicted_pixels", pa.int64()),  # where the truth is not ignore
    pa.field("intersection", pa.int64()),
    pa.field("iou", pa.float64()),             # of this image; null without a union
    pa.field("boundary_intersection", pa.int64()),
    pa.field("boundary_union", pa.int64()),
    pa.field("band_intersection", pa.int64()),
    pa.field("band_union", pa.int64()),
])  # fmt: skip

TRIMAP_POINT = pa.struct([
    pa.field("width", pa.int32()),             # pixels on each side of the truth's borders
    pa.field("index", pa.int32()),             # class
    pa.field("intersection", pa.int64()),
    pa.field("union", pa.int64()),
])  # fmt: skip

LEVEL = pa.struct([
    pa.field("level", pa.int32()),             # confidence in sixtieths, 0..59
    pa.field("pixels", pa.int64()),
    pa.field("correct", pa.int64()),
    pa.field("confidence", pa.float64()),      # summed over the pixels
])  # fmt: skip

REGION = pa.struct([
    pa.field("truth", pa.int32()),
    pa.field("prediction", pa.int32()),
    pa.field("area", pa.int64()),              # pixels
    pa.field("core", pa.int64()),              # of them, at least 3 pixels inside
    pa.field("bbox", pa.list_(pa.int32())),    # [x, y, width, height]
    pa.field("confidence", pa.float64()),      # mean, 0..1; null without confidences
])  # fmt: skip

FINDING = pa.struct([
    pa.field("check", pa.string()),            # island | ragged_void | nothing_labelled
    pa.field("index", pa.int32()),             # class, -1 where none is meant
    pa.field("count", pa.int64()),
    pa.field("bbox", pa.list_(pa.int32())),    # [x, y, width, height] of the first one
    pa.field("message", pa.string()),
])  # fmt: skip

ALIGNMENT = pa.struct([
    pa.field("turn", pa.string()),             # '' for a shift
    pa.field("shift_x", pa.int32()),           # pixels the prediction lies right of the truth
    pa.field("shift_y", pa.int32()),           # pixels the prediction lies below the truth
    pa.field("miou_before", pa.float64()),
    pa.field("miou_after", pa.float64()),
])  # fmt: skip

AUDIT = pa.schema([
    *PAIRS,
    pa.field("status", pa.string(), False),    # ok | failed
    pa.field("attempts", pa.int32()),          # how often the pair's block was started
    pa.field("notes", pa.list_(pa.string())),  # what was decided on the way
    pa.field("width", pa.int32()),             # of the truth
    pa.field("height", pa.int32()),
    pa.field("prediction_kind", pa.string()),  # how the file was read
    pa.field("truth_kind", pa.string()),
    pa.field("pixels", pa.int64()),            # all of the truth
    pa.field("ignored_pixels", pa.int64()),    # of them, ignored in the truth
    pa.field("miou", pa.float64()),            # of this image; null where it has no class
    pa.field("pixel_accuracy", pa.float64()),
    pa.field("boundary_iou", pa.float64()),    # mean over the image's classes
    pa.field("cells", pa.list_(CELL)),         # the confusion matrix's non-zero cells
    pa.field("strange_values", pa.list_(STRANGE_VALUE)),
    pa.field("classes", pa.list_(CLASS_SCORE)),
    pa.field("trimap", pa.list_(TRIMAP_POINT)),
    pa.field("levels", pa.list_(LEVEL)),
    pa.field("regions", pa.list_(REGION)),     # largest disagreements first
    pa.field("findings", pa.list_(FINDING)),
    pa.field("alignment", ALIGNMENT),          # what would make the pair agree better
    pa.field("image_sha256", pa.string()),     # of the picture's file
    pa.field("truth_sha256", pa.string()),     # of the truth's class map
    pa.field("read_ms", pa.float64()),
    pa.field("measure_ms", pa.float64()),
    pa.field("worker", pa.string()),           # host:pid
])  # fmt: skip
"""One row per pair: everything every number of the audit is computed from."""

TIMING_COLUMNS = ("attempts", "read_ms", "measure_ms", "worker")
"""Columns of AUDIT that tell of the run, not of its result."""

REGIONS = pa.schema([
    pa.field("pair_id", pa.int64(), False),
    pa.field("key", pa.string(), False),
    pa.field("truth_class", pa.string(), False),
    pa.field("predicted_class", pa.string(), False),
    pa.field("area", pa.int64(), False),
    pa.field("core", pa.int64(), False),
    pa.field("bbox", pa.list_(pa.int32()), False),
    pa.field("confidence", pa.float64()),
    pa.field("suspicion", pa.float64(), False),  # 0..1: how much it looks like a label error
])  # fmt: skip
"""Suspected label errors, most suspicious first."""
