"""The pyarrow.Schema of every table on disk. Column comments live beside the fields."""

import pyarrow as pa

MANIFEST = pa.schema(
    [
        pa.field("image_id", pa.int64(), False),  # position in sorted key order, from 1
        pa.field("key", pa.string(), False),  # path relative to the source root, posix
        pa.field("uri", pa.string(), False),  # where the bytes are
        pa.field("bytes", pa.int64()),  # file size when listed; null where unknown
        pa.field("block", pa.int64(), False),  # unit of work: commits whole or not at all
        pa.field("output", pa.string(), False),  # output path without "masks/" and ".png"
    ]
)

CLASS_STATS = pa.struct(
    [
        pa.field("index", pa.int32()),
        pa.field("name", pa.string()),
        pa.field("category_id", pa.int32()),  # null for background
        pa.field("pixels", pa.int64()),
        pa.field("fraction", pa.float64()),  # of H * W
        pa.field("mean_confidence", pa.float64()),
        pa.field("bbox", pa.list_(pa.int32())),  # [x, y, width, height]
        pa.field("components", pa.int32()),  # 8-connected
    ]
)

SEGMENT = pa.struct(
    [
        pa.field("category_id", pa.int32()),
        pa.field("area", pa.int64()),  # mask pixels
        pa.field("bbox", pa.list_(pa.int32())),  # [x, y, width, height]
        pa.field("counts", pa.string()),  # compressed COCO RLE of size [height, width]
        pa.field("score", pa.float64()),  # mean top-1 confidence of the class, 0..1
    ]
)

OUTPUT_FILE = pa.struct(
    [
        pa.field("name", pa.string()),  # the writer: overlays, soft, cutouts
        pa.field("path", pa.string()),  # relative to OUT
        pa.field("sha256", pa.string()),
    ]
)

METADATA = pa.schema(
    [
        pa.field("image_id", pa.int64(), False),
        pa.field("key", pa.string(), False),
        pa.field("uri", pa.string(), False),
        pa.field("block", pa.int64(), False),
        pa.field("bytes", pa.int64()),  # size of the file that was read
        pa.field("sha256", pa.string()),  # of the file that was read
        pa.field("format", pa.string()),  # JPEG, PNG, …
        pa.field("mode", pa.string()),  # Pillow mode before conversion to RGB
        pa.field("width", pa.int32()),  # after EXIF orientation
        pa.field("height", pa.int32()),
        pa.field("exif_orientation", pa.int32()),  # 1..8; 1 where there is none
        pa.field(
            "notes", pa.list_(pa.string())
        ),  # what was decided on the way: "first of 12 frames"
        pa.field("status", pa.string(), False),  # ok | failed
        pa.field("error_code", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("attempts", pa.int32()),  # how often the image's block was started
        pa.field("mask_path", pa.string()),  # relative to OUT
        pa.field("mask_sha256", pa.string()),
        pa.field("files", pa.list_(OUTPUT_FILE)),  # what was written beside the mask
        pa.field("classes", pa.list_(CLASS_STATS)),
        pa.field("segments", pa.list_(SEGMENT)),
        pa.field("ignored_fraction", pa.float64()),  # share of ignore pixels in the mask
        pa.field("mean_confidence", pa.float64()),  # top-1 softmax on the logit grid, valid part
        pa.field("mean_entropy", pa.float64()),  # divided by ln C: 0..1
        pa.field("mean_margin", pa.float64()),  # p1 - p2
        pa.field(
            "low_confidence_fraction", pa.float64()
        ),  # share of grid points with top-1 below 0.5
        pa.field("model", pa.string()),
        pa.field("weights_sha256", pa.string()),
        pa.field("settings_fingerprint", pa.string()),
        pa.field("tool_version", pa.string()),
        pa.field("decode_ms", pa.float64()),
        pa.field("infer_ms", pa.float64()),
        pa.field("write_ms", pa.float64()),
        pa.field("worker", pa.string()),  # host:pid of the process that ran the network
    ]
)
"""One row per input image. The commit record: an image is done when its row is on disk."""

TIMING_COLUMNS = ("attempts", "decode_ms", "infer_ms", "write_ms", "worker")
"""Columns of METADATA that tell of the run's history, not of its result."""

REVIEW_ORDER = pa.schema(
    [
        pa.field("rank", pa.int64(), False),  # from 1
        pa.field("image_id", pa.int64(), False),
        pa.field("key", pa.string(), False),
        pa.field("score", pa.float64(), False),
        pa.field("mean_entropy", pa.float64()),
        pa.field("mean_margin", pa.float64()),
        pa.field("low_confidence_fraction", pa.float64()),
        pa.field("rarest_class", pa.string()),  # null where there is only background
        pa.field("rarity", pa.float64()),  # 0 in every image .. 1 in this one only
    ]
)
"""What people should look at first; one row per ok image."""
