"""The pyarrow.Schema of every table of a conversion. Each column says what it holds."""

import pyarrow as pa

from maskmill.schemas.tables.columns import column

CONVERSION_MANIFEST = pa.schema(
    [
        column("image_id", pa.int64(), "position in sorted key order, from 1", nullable=False),
        column("key", pa.string(), "the picture's path in the dataset, posix", nullable=False),
        column("block", pa.int64(), "unit of work: commits whole or not at all", nullable=False),
        column(
            "output", pa.string(), "the key without extension, unique in the run", nullable=False
        ),
        column("split", pa.string(), "train, val, …; empty without splits", nullable=False),
        column("payload", pa.large_string(), "where the reader finds the sample: its own JSON"),
    ]
)
"""One row per sample of the source."""

CONVERSION = pa.schema(
    [
        column("image_id", pa.int64(), "position in sorted key order, from 1", nullable=False),
        column("key", pa.string(), "the picture's path in the dataset, posix", nullable=False),
        column("block", pa.int64(), "unit of work: commits whole or not at all", nullable=False),
        column(
            "output", pa.string(), "the key without extension, unique in the run", nullable=False
        ),
        column("split", pa.string(), "train, val, …; empty without splits", nullable=False),
        column("width", pa.int32(), "of the sample's mask, pixels"),
        column("height", pa.int32(), "of the sample's mask, pixels"),
        column("notes", pa.list_(pa.string()), "what was decided on the way"),
        column("status", pa.string(), "ok | failed", nullable=False),
        column("error_code", pa.string(), "why it failed; null for ok"),
        column("error_message", pa.string(), "a sentence: file, value and remedy; null for ok"),
        column("attempts", pa.int32(), "how often the sample's block was started"),
        column("files", pa.list_(pa.string()), "relative to OUT, sorted"),
        column("files_sha256", pa.list_(pa.string()), "of each of ``files``"),
        column("record", pa.large_string(), "the sample's part of the finisher's document"),
        column("classes", pa.list_(pa.int32()), "class indices in the mask that was written"),
        column("ignore_pixels", pa.int64(), "ignore pixels in the mask that was written"),
        column("overlap_pixels", pa.int64(), "claimed by several classes in the source"),
        column(
            "left_out",
            pa.list_(
                pa.struct(
                    [
                        column("kind", pa.string(), "kind of what did not reach the target"),
                        column("what", pa.string(), "of which class, shape or array; empty = all"),
                        column("count", pa.int64(), "how many"),
                    ]
                )
            ),
            "what of the source is not in the output",
        ),
        column("picture", pa.string(), "the copied picture, relative to OUT; null without one"),
        column("segment_ious", pa.list_(pa.float64()), "IoU each drawn segment kept; 1.0 = exact"),
        column("min_iou", pa.float64(), "the smallest of them; null without segments"),
        column("settings_fingerprint", pa.string(), "of the run's settings that decide the output"),
        column("tool_version", pa.string(), "of maskmill"),
        column("read_ms", pa.float64(), "milliseconds spent reading the sample"),
        column("write_ms", pa.float64(), "milliseconds spent writing it"),
        column("worker", pa.string(), "host:pid"),
    ]
)
"""One row per sample. The commit record: a sample is done when its row is on disk."""

CHECK = pa.schema(
    [
        column("image_id", pa.int64(), "position in sorted key order, from 1", nullable=False),
        column("key", pa.string(), "the picture's path in the dataset, posix", nullable=False),
        column("block", pa.int64(), "unit of work: commits whole or not at all", nullable=False),
        column("pixels", pa.int64(), "pixels compared"),
        column("differing", pa.int64(), "class pixels read back as another class"),
        column("ignore_lost", pa.int64(), "ignore pixels read back as a class"),
        column("first", pa.string(), "where the first differing pixel is"),
        column("checked_by", pa.string(), "whose decoders read it back"),
        column("error_code", pa.string(), "why it could not be compared; null where it was"),
        column("error_message", pa.string(), "a sentence: file, value and remedy"),
    ]
)
"""One row per sample that --check read back."""
