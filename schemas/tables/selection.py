"""Tables of what images look like, which of them are alike, and which were chosen or left out."""

from typing import Final

import pyarrow as pa

from maskmill.schemas.tables.columns import column

TONES_BYTES: Final = 48

_LOOKS = (
    column("pixels_sha256", pa.string(), "of the decoded RGB pixels and their size"),
    column("perceptual_hash", pa.uint64(), "64 DCT signs; null for a picture of one tone"),
    column("tones", pa.binary(TONES_BYTES), "mean RGB of 4 x 4 fields, row by row"),
)

FEATURES = pa.schema(
    [
        column("image_id", pa.int64(), "position in sorted key order, from 1", nullable=False),
        *_LOOKS,
        column(
            "feature",
            pa.list_(pa.float16()),
            "what enters the network's last convolution: mean over the picture, length 1",
        ),
    ]
)
"""One row per ok image, beside METADATA and with its blocks: `prelabel --write features`."""

FINGERPRINTS = pa.schema(
    [
        column("key", pa.string(), "path relative to the source root, posix", nullable=False),
        column("uri", pa.string(), "where the bytes are", nullable=False),
        column("bytes", pa.int64(), "file size when listed; null where unknown"),
        column("sha256", pa.string(), "of the file; null where it could not be read"),
        column("width", pa.int32(), "pixels, after EXIF orientation"),
        column("height", pa.int32(), "pixels, after EXIF orientation"),
        *_LOOKS,
    ]
)
"""What every image looked at looks like, whether it became part of the run or not."""

SKIPPED = pa.schema(
    [
        column("key", pa.string(), "path relative to the source root, posix", nullable=False),
        column("uri", pa.string(), "where the bytes are", nullable=False),
        column("bytes", pa.int64(), "file size when listed; null where unknown"),
        column("reason", pa.string(), "skip | exact | pixels | near", nullable=False),
        column("of", pa.string(), "skip: what named it; else the key of the image that is kept"),
        column("distance", pa.int32(), "bits between the perceptual hashes; null for skip"),
    ]
)
"""Images of the source that `prelabel --skip` and `--skip-duplicates` left out."""

DUPLICATES = pa.schema(
    [
        column("group", pa.int64(), "from 1", nullable=False),
        column("image_id", pa.int64(), "position in sorted key order, from 1", nullable=False),
        column("key", pa.string(), "path relative to the source root, posix", nullable=False),
        column("uri", pa.string(), "where the bytes are", nullable=False),
        column("kind", pa.string(), "kept | exact | pixels | near", nullable=False),
        column("of", pa.string(), "key of the image that is kept; its own for that one"),
        column("distance", pa.int32(), "bits between its perceptual hash and that of the kept one"),
        column("similarity", pa.float32(), "cosine of the two features; null without features"),
    ]
)
"""Groups of two or more images that are alike; the first of each is the one to keep."""

SELECTION = pa.schema(
    [
        column("rank", pa.int64(), "from 1, in the order they were chosen", nullable=False),
        column("image_id", pa.int64(), "position in sorted key order, from 1", nullable=False),
        column("key", pa.string(), "path relative to the source root, posix", nullable=False),
        column("uri", pa.string(), "where the bytes are", nullable=False),
        column("gain", pa.float64(), "what the strategy saw in it when it chose it"),
        column("mean_entropy", pa.float64(), "divided by ln C: 0..1"),
        column("rarest_class", pa.string(), "null where there is only background"),
        column(
            "distance",
            pa.float64(),
            "1 - cosine to the nearest image chosen or known before; null where not used",
        ),
    ]
)
"""What to send to annotators next; one row per chosen image."""
