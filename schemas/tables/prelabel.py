"""The pyarrow.Schema of every table on disk. Each column says what it holds."""

import pyarrow as pa

from maskmill.schemas.tables.columns import column

MANIFEST = pa.schema(
    [
        column("image_id", pa.int64(), "position in sorted key order, from 1", nullable=False),
        column("key", pa.string(), "path relative to the source root, posix", nullable=False),
        column("uri", pa.string(), "where the bytes are", nullable=False),
        column(
            "bytes",
            pa.int64(),
            "file size when listed, of a frame its encoded size; null where unknown",
        ),
        column("block", pa.int64(), "unit of work: commits whole or not at all", nullable=False),
        column("output", pa.string(), 'output path without "masks/" and ".png"', nullable=False),
    ]
)

CLASS_STATS = pa.struct(
    [
        column("index", pa.int32(), "class index"),
        column("name", pa.string(), "class name"),
        column("category_id", pa.int32(), "null for background"),
        column("pixels", pa.int64(), "pixels of the class in the mask"),
        column("fraction", pa.float64(), "share of H * W"),
        column("mean_confidence", pa.float64(), "top-1 softmax over the class's grid points, 0..1"),
        column("bbox", pa.list_(pa.int32()), "[x, y, width, height]"),
        column("components", pa.int32(), "8-connected components"),
    ]
)

SEGMENT = pa.struct(
    [
        column("category_id", pa.int32(), "COCO category id of the class"),
        column("area", pa.int64(), "mask pixels"),
        column("bbox", pa.list_(pa.int32()), "[x, y, width, height]"),
        column("counts", pa.string(), "compressed COCO RLE of size [height, width]"),
        column("score", pa.float64(), "mean top-1 confidence of the class, 0..1"),
    ]
)

OUTPUT_FILE = pa.struct(
    [
        column("name", pa.string(), "the writer: overlays, soft, cutouts, frames, features"),
        column("path", pa.string(), "relative to OUT; in a shard as mask_path"),
        column("sha256", pa.string(), "of the file; of features, of the image's row in it"),
    ]
)

METADATA = pa.schema(
    [
        column("image_id", pa.int64(), "position in sorted key order, from 1", nullable=False),
        column("key", pa.string(), "path relative to the source root, posix", nullable=False),
        column("uri", pa.string(), "where the bytes are", nullable=False),
        column("block", pa.int64(), "unit of work: commits whole or not at all", nullable=False),
        column("video", pa.string(), "key of the video that the image is a frame of; else null"),
        column("frame", pa.int64(), "number of the frame as shown, from 0"),
        column("pts", pa.int64(), "presentation time of the frame, in units of time_base"),
        column("time_base", pa.string(), "seconds, as a fraction: 1/90000"),
        column("seconds", pa.float64(), "when the frame is shown, counted from the first frame"),
        column("bytes", pa.int64(), "size of the file that was read; of a frame as PPM"),
        column("sha256", pa.string(), "of the file that was read; of a frame as PPM"),
        column("format", pa.string(), "JPEG, PNG, …; VIDEO for a frame of one"),
        column("mode", pa.string(), "Pillow mode before conversion to RGB"),
        column("width", pa.int32(), "pixels, after EXIF orientation"),
        column("height", pa.int32(), "pixels, after EXIF orientation"),
        column("exif_orientation", pa.int32(), "1..8; 1 where there is none"),
        column("notes", pa.list_(pa.string()), 'what was decided on the way: "first of 12 frames"'),
        column("status", pa.string(), "ok | failed", nullable=False),
        column("error_code", pa.string(), "why it failed; null for ok"),
        column("error_message", pa.string(), "a sentence: file, value and remedy; null for ok"),
        column("attempts", pa.int32(), "how often the image's block was started"),
        column("mask_path", pa.string(), "relative to OUT; in a shard SHARD!/OFFSET+LENGTH/MEMBER"),
        column("mask_sha256", pa.string(), "of the mask's file"),
        column("shard", pa.string(), "tar that holds the mask, relative to OUT; null for a file"),
        column("offset", pa.int64(), "where the mask's bytes begin in the shard"),
        column("length", pa.int64(), "how many they are"),
        column("files", pa.list_(OUTPUT_FILE), "what was written beside the mask"),
        column("classes", pa.list_(CLASS_STATS), "one per class in the mask"),
        column("segments", pa.list_(SEGMENT), "one per COCO annotation of the image"),
        column("ignored_fraction", pa.float64(), "share of ignore pixels in the mask"),
        column("mean_confidence", pa.float64(), "top-1 softmax on the logit grid, valid part"),
        column("mean_entropy", pa.float64(), "divided by ln C: 0..1"),
        column("mean_margin", pa.float64(), "p1 - p2"),
        column(
            "low_confidence_fraction", pa.float64(), "share of grid points with top-1 below 0.5"
        ),
        column("model", pa.string(), "the network's name"),
        column("weights_sha256", pa.string(), "of the weights the network was filled with"),
        column("settings_fingerprint", pa.string(), "of the run's settings that decide the pixels"),
        column("tool_version", pa.string(), "of maskmill"),
        column("decode_ms", pa.float64(), "milliseconds spent reading and decoding"),
        column("infer_ms", pa.float64(), "milliseconds of the network"),
        column("write_ms", pa.float64(), "milliseconds spent on mask and other files"),
        column("worker", pa.string(), "host:pid of the process that ran the network"),
    ]
)
"""One row per input image. The commit record: an image is done when its row is on disk."""

TIMING_COLUMNS = ("attempts", "decode_ms", "infer_ms", "write_ms", "worker")
"""Columns of METADATA that tell of the run's history, not of its result."""

REVIEW_ORDER = pa.schema(
    [
        column("rank", pa.int64(), "from 1", nullable=False),
        column("image_id", pa.int64(), "position in sorted key order, from 1", nullable=False),
        column("key", pa.string(), "path relative to the source root, posix", nullable=False),
        column("score", pa.float64(), "what the order is by, largest first", nullable=False),
        column("mean_entropy", pa.float64(), "divided by ln C: 0..1"),
        column("mean_margin", pa.float64(), "p1 - p2, 0..1"),
        column(
            "low_confidence_fraction", pa.float64(), "share of grid points with top-1 below 0.5"
        ),
        column("rarest_class", pa.string(), "null where there is only background"),
        column("rarity", pa.float64(), "0 in every image .. 1 in this one only"),
    ]
)
"""What people should look at first; one row per ok image."""
