"""The pyarrow.Schema of every table of a fine-tuning. Each column says what it holds."""

import pyarrow as pa

from maskmill.schemas.tables.columns import column

CLASS_PIXELS = pa.struct(
    [
        column("index", pa.int32(), "class index"),
        column("pixels", pa.int64(), "pixels of the class in the mask"),
    ]
)

SAMPLES = pa.schema(
    [
        column("image_id", pa.int64(), "position in sorted key order, from 1", nullable=False),
        column("key", pa.string(), "the picture's path in the dataset, posix", nullable=False),
        column("block", pa.int64(), "unit of work: commits whole or not at all", nullable=False),
        column("split", pa.string(), "as in DATA, or by the shares of --split", nullable=False),
        column("role", pa.string(), "train | validate | unused", nullable=False),
        column("width", pa.int32(), "of the picture, pixels, after EXIF orientation"),
        column("height", pa.int32(), "of the picture, pixels, after EXIF orientation"),
        column("resized_from", pa.string(), "size of the mask that --resize scaled; else null"),
        column("classes", pa.list_(CLASS_PIXELS), "one per class in the mask"),
        column("ignore_pixels", pa.int64(), "pixels that are not learnt from"),
        column("notes", pa.list_(pa.string()), "what was decided on the way"),
        column("status", pa.string(), "ok | failed", nullable=False),
        column("error_code", pa.string(), "why it failed; null for ok"),
        column("error_message", pa.string(), "a sentence: file, value and remedy; null for ok"),
        column("attempts", pa.int32(), "how often the sample's block was started"),
        column("worker", pa.string(), "host:pid"),
    ]
)
"""One row per sample of DATA, written before the first step; training uses the ok ones."""

STEPS = pa.schema(
    [
        column("step", pa.int64(), "from 1; each stands once, whatever was killed", nullable=False),
        column("epoch", pa.int32(), "from 1", nullable=False),
        column("loss", pa.float64(), "of the batch, before the step", nullable=False),
        column("rate", pa.float64(), "learning rate of the body; the head's is a multiple"),
        column("gradient_norm", pa.float64(), "before clipping"),
        column("valid_pixels", pa.int64(), "pixels of the batch that were learnt from"),
        column("images", pa.int32(), "of the batch, of all workers together"),
        column("wait_ms", pa.float64(), "milliseconds that the network waited for the batch"),
        column("step_ms", pa.float64(), "milliseconds of the whole step, waiting among them"),
    ]
)
"""One row per step of the optimiser."""

MATRIX_CELL = pa.struct(
    [
        column("truth", pa.int32(), "class index; the number of classes stands for ignore"),
        column("prediction", pa.int32(), "class index; the number of classes stands for no class"),
        column("pixels", pa.int64(), "so many pixels"),
    ]
)

VALIDATION = pa.schema(
    [
        column("epoch", pa.int32(), "0: before the first step", nullable=False),
        column("step", pa.int64(), "steps done before it", nullable=False),
        column("image_id", pa.int64(), "as in SAMPLES", nullable=False),
        column("key", pa.string(), "the picture's path in the dataset, posix", nullable=False),
        column("miou", pa.float64(), "of this picture, over classes with a union; null without"),
        column("pixel_accuracy", pa.float64(), "of this picture; null where all is ignore"),
        column("confusion", pa.list_(MATRIX_CELL), "non-zero cells, at the picture's own size"),
    ]
)
"""One row per validation picture and epoch."""
