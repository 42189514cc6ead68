"""The pyarrow.Schema of every table of `push` and `pull`. Each column says what it holds."""

import pyarrow as pa

from maskmill.schemas.tables.columns import column
from maskmill.schemas.tables.prelabel import CLASS_STATS, OUTPUT_FILE

PUSH_MANIFEST = pa.schema(
    [
        column("image_id", pa.int64(), "position in the order of the push, from 1", nullable=False),
        column("key", pa.string(), "of the image in the run", nullable=False),
        column("block", pa.int64(), "chunk: goes to the server as one", nullable=False),
        column("task", pa.string(), "CVAT: the name of the task; empty elsewhere", nullable=False),
        column("uri", pa.string(), "where the bytes of the picture are"),
        column("payload", pa.large_string(), "where the mask is: JSON of the run's reader"),
    ]
)
"""One row per image that is sent, in the order in which annotators get them."""

PUSHED = pa.schema(
    [
        column("image_id", pa.int64(), "position in the order of the push, from 1", nullable=False),
        column("key", pa.string(), "of the image in the run", nullable=False),
        column("block", pa.int64(), "chunk: goes to the server as one", nullable=False),
        column("status", pa.string(), "ok | failed", nullable=False),
        column("error_code", pa.string(), "why it failed; null for ok"),
        column("error_message", pa.string(), "a sentence: file, value and remedy; null for ok"),
        column("attempts", pa.int32(), "how often the image's chunk was started"),
        column("task_id", pa.int64(), "the server's number of the task"),
        column("frame", pa.int64(), "CVAT: position of the picture in its task, from 0"),
        column("picture", pa.string(), "what the server calls the picture"),
        column("regions", pa.int64(), "regions of the prediction that the server took"),
        column("ignored_pixels", pa.int64(), "of the mask: not sent, background to annotators"),
        column("worker", pa.string(), "host:pid"),
    ]
)
"""One row per image. The ledger of a push: an image is there when its row is on disk."""

PULL_MANIFEST = pa.schema(
    [
        column(
            "image_id", pa.int64(), "position in the order of the server, from 1", nullable=False
        ),
        column("key", pa.string(), "of the image, as it was pushed", nullable=False),
        column("block", pa.int64(), "unit of work: commits whole or not at all", nullable=False),
        column("output", pa.string(), 'output path without "masks/" and ".png"', nullable=False),
        column("page", pa.string(), "file of OUT that holds the answer of the server"),
        column("place", pa.int64(), "position of the task, or the picture, in that file, from 0"),
    ]
)
"""One row per annotated image."""

PULLED = pa.schema(
    [
        column(
            "image_id", pa.int64(), "position in the order of the server, from 1", nullable=False
        ),
        column("key", pa.string(), "of the image, as it was pushed", nullable=False),
        column("block", pa.int64(), "unit of work: commits whole or not at all", nullable=False),
        column("uri", pa.string(), "where the picture is: in the run, else what the server says"),
        column("width", pa.int32(), "pixels, after EXIF orientation"),
        column("height", pa.int32(), "pixels, after EXIF orientation"),
        column("status", pa.string(), "ok | failed", nullable=False),
        column("error_code", pa.string(), "why it failed; null for ok"),
        column("error_message", pa.string(), "a sentence: file, value and remedy; null for ok"),
        column("attempts", pa.int32(), "how often the image's block was started"),
        column("mask_path", pa.string(), "relative to OUT"),
        column("mask_sha256", pa.string(), "of the mask's file"),
        column("files", pa.list_(OUTPUT_FILE), "beside the mask: none"),
        column("classes", pa.list_(CLASS_STATS), "one per class in the mask; no confidences"),
        column("task_id", pa.int64(), "the server's number of the task"),
        column(
            "annotation_id", pa.int64(), "the server's number of the annotation; CVAT: of the job"
        ),
        column("annotator", pa.string(), "who: e-mail or name, else the server's number"),
        column("annotated_at", pa.string(), "when it was last changed, as the server says it"),
        column("lead_seconds", pa.float64(), "how long it took, where the server tells"),
        column("change", pa.string(), "kept | changed: against the prediction; new: without one"),
        column("origins", pa.list_(pa.string()), "regions by origin: 'prediction 3', 'manual 1'"),
        column("parent_prediction", pa.int64(), "the prediction it began as; null where none"),
        column("model_version", pa.string(), "who made that prediction"),
        column("score", pa.float64(), "of that prediction, 0..1"),
        column("changed_pixels", pa.int64(), "that differ from the prediction; null without one"),
        column("changed_fraction", pa.float64(), "share of all pixels; null without a prediction"),
        column("left_out", pa.list_(pa.string()), "what of the annotation is not in the mask"),
        column("worker", pa.string(), "host:pid"),
    ]
)
"""One row per annotated image; OUT is read like the OUT of `prelabel`."""
