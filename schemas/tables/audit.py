"""The pyarrow.Schema of every table of an audit. Each column says what it holds."""

import pyarrow as pa

from maskmill.schemas.tables.columns import column

PAIRS = pa.schema(
    [
        column("pair_id", pa.int64(), "position in sorted key order, from 1", nullable=False),
        column(
            "key",
            pa.string(),
            "path without extension, of the truth if there is one",
            nullable=False,
        ),
        column("prediction_uri", pa.string(), "null where the prediction is missing"),
        column("truth_uri", pa.string(), "null where the truth is missing"),
        column("prediction_item", pa.string(), "where in a dataset; null for a file of its own"),
        column("truth_item", pa.string(), "where in a dataset; null for a file of its own"),
        column("image_uri", pa.string(), "the picture, where one is known"),
        column("confidence_uri", pa.string(), "confidences of the prediction, if any"),
        column("error_code", pa.string(), "why it cannot be compared, if known already"),
        column(
            "error_message",
            pa.string(),
            "a sentence: file, value and remedy; null without an error",
        ),
    ]
)
"""One row per pair to be compared, and per file without a partner."""

PAIR_MANIFEST = pa.schema(
    [
        *PAIRS,
        column("block", pa.int64(), "unit of work: commits whole or not at all", nullable=False),
        column(
            "stamp", pa.string(), "size and time of change of the files, on disks", nullable=False
        ),
    ]
)
"""The work list of an audit, in pair_id order: `manifest/manifest.parquet`."""

CELL = pa.struct(
    [
        column("truth", pa.int32(), "class index; the number of classes = ignore or no class"),
        column("prediction", pa.int32(), "class index; the number of classes = ignore or no class"),
        column("pixels", pa.int64(), "pixels of this truth and this prediction"),
    ]
)

STRANGE_VALUE = pa.struct(
    [
        column("side", pa.string(), "truth | prediction"),
        column("value", pa.int32(), "neither a class nor ignore"),
        column("pixels", pa.int64(), "pixels of this value"),
    ]
)

CLASS_SCORE = pa.struct(
    [
        column("index", pa.int32(), "class index"),
        column("name", pa.string(), "class name"),
        column("truth_pixels", pa.int64(), "pixels of the class in the truth"),
        column(
            "predicted_pixels",
            pa.int64(),
            "pixels predicted as the class, where the truth is not ignore",
        ),
        column("intersection", pa.int64(), "pixels of the class in both"),
        column("iou", pa.float64(), "of this image; null without a union"),
        column(
            "boundary_intersection",
            pa.int64(),
            "pixels within 2 % of the diagonal of the class's border, in both",
        ),
        column(
            "boundary_union",
            pa.int64(),
            "pixels within 2 % of the diagonal of the class's border, in either",
        ),
        column(
            "band_intersection",
            pa.int64(),
            "pixels of the class in both, within 5 px of a border of the truth",
        ),
        column(
            "band_union",
            pa.int64(),
            "pixels of the class in either, within 5 px of a border of the truth",
        ),
    ]
)

TRIMAP_POINT = pa.struct(
    [
        column("width", pa.int32(), "pixels on each side of the truth's borders"),
        column("index", pa.int32(), "class index"),
        column("intersection", pa.int64(), "pixels of the class in both, that near"),
        column("union", pa.int64(), "pixels of the class in either, that near"),
    ]
)

LEVEL = pa.struct(
    [
        column("level", pa.int32(), "confidence in sixtieths, 0..59"),
        column("pixels", pa.int64(), "counted pixels of this confidence"),
        column("correct", pa.int64(), "of them, predicted right"),
        column("confidence", pa.float64(), "summed over the pixels"),
    ]
)

REGION = pa.struct(
    [
        column("truth", pa.int32(), "class index"),
        column("prediction", pa.int32(), "class index"),
        column("area", pa.int64(), "pixels"),
        column("core", pa.int64(), "of them, at least 3 pixels inside"),
        column("bbox", pa.list_(pa.int32()), "[x, y, width, height]"),
        column("confidence", pa.float64(), "mean, 0..1; null without confidences"),
    ]
)

FINDING = pa.struct(
    [
        column("check", pa.string(), "island | ragged_void | nothing_labelled"),
        column("index", pa.int32(), "class index; -1 where none is meant"),
        column("count", pa.int64(), "how many there are"),
        column("bbox", pa.list_(pa.int32()), "[x, y, width, height] of the first one"),
        column("message", pa.string(), "what was found, as a sentence"),
    ]
)

ALIGNMENT = pa.struct(
    [
        column(
            "turn",
            pa.string(),
            "how the prediction would have to be turned or mirrored; empty for a shift",
        ),
        column("shift_x", pa.int32(), "pixels the prediction lies right of the truth"),
        column("shift_y", pa.int32(), "pixels the prediction lies below the truth"),
        column("miou_before", pa.float64(), "mIoU of the pair as it is"),
        column("miou_after", pa.float64(), "mIoU of the pair once turned or shifted back"),
        column(
            "is_certain",
            pa.bool_(),
            "the pair alone shows it; otherwise a shift counts only where many pairs have it",
        ),
    ]
)

AUDIT = pa.schema(
    [
        *PAIRS,
        column("block", pa.int64(), "unit of work: commits whole or not at all", nullable=False),
        column("status", pa.string(), "ok | failed", nullable=False),
        column("attempts", pa.int32(), "how often the pair's block was started"),
        column("notes", pa.list_(pa.string()), "what was decided on the way"),
        column("width", pa.int32(), "of the truth, pixels"),
        column("height", pa.int32(), "of the truth, pixels"),
        column("prediction_kind", pa.string(), "how the prediction's file was read"),
        column("truth_kind", pa.string(), "how the truth's file was read"),
        column("pixels", pa.int64(), "all pixels of the truth"),
        column("ignored_pixels", pa.int64(), "pixels that are ignored in the truth"),
        column("miou", pa.float64(), "of this image, 0..1; null where it has no class"),
        column("pixel_accuracy", pa.float64(), "of this image, 0..1"),
        column("boundary_iou", pa.float64(), "mean over the image's classes"),
        column("cells", pa.list_(CELL), "the confusion matrix's non-zero cells"),
        column(
            "strange_values", pa.list_(STRANGE_VALUE), "values that are neither a class nor ignore"
        ),
        column("classes", pa.list_(CLASS_SCORE), "sums and IoU of each class of the image"),
        column(
            "trimap", pa.list_(TRIMAP_POINT), "sums near the truth's borders, per width and class"
        ),
        column("levels", pa.list_(LEVEL), "calibration sums; empty without confidences"),
        column("regions", pa.list_(REGION), "largest disagreements first"),
        column("findings", pa.list_(FINDING), "what the checks of the truth found"),
        column("alignment", ALIGNMENT, "what would make the pair agree better"),
        column(
            "undecided",
            pa.list_(pa.string()),
            "why a turn or shift would not show: one_class, symmetric, poor, little_border; null "
            "where none was looked for",
        ),
        column("image_sha256", pa.string(), "of the picture's file"),
        column("truth_sha256", pa.string(), "of the truth's class map, by its runs"),
        column("prediction_sha256", pa.string(), "of the prediction's class map, by its runs"),
        column("read_ms", pa.float64(), "milliseconds spent reading both files"),
        column("measure_ms", pa.float64(), "milliseconds spent on the numbers"),
        column("worker", pa.string(), "host:pid of the process that compared them"),
    ]
)
"""One row per pair: everything every number of the audit is computed from."""

TIMING_COLUMNS = ("attempts", "read_ms", "measure_ms", "worker")
"""Columns of AUDIT that tell of the run, not of its result."""

REGIONS = pa.schema(
    [
        column("pair_id", pa.int64(), "of the pair the region lies in", nullable=False),
        column("key", pa.string(), "of the pair the region lies in", nullable=False),
        column("truth_class", pa.string(), "what is labelled there", nullable=False),
        column("predicted_class", pa.string(), "what was predicted there", nullable=False),
        column("area", pa.int64(), "pixels", nullable=False),
        column("core", pa.int64(), "of them, at least 3 pixels inside", nullable=False),
        column("bbox", pa.list_(pa.int32()), "[x, y, width, height]", nullable=False),
        column(
            "confidence",
            pa.float64(),
            "mean of the prediction there, 0..1; null without confidences",
        ),
        column(
            "suspicion", pa.float64(), "0..1: how much it looks like a label error", nullable=False
        ),
    ]
)
"""Suspected label errors, most suspicious first."""
