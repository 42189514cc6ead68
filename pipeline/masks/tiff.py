"""Class indices in TIFF, for tools that want it."""

import io

import numpy as np
from PIL import Image

from maskmill.pipeline.masks.values import refuse_unknown_values
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.labels import LabelMap


def encode(mask: LabelMask, labels: LabelMap) -> bytes:
    """Deflated grey TIFF of an (H, W) mask, 8 bits for uint8 and 16 for uint16.

    Raises:
        MaskFailure: UNKNOWN_VALUE.
    """
    refuse_unknown_values(mask, labels)
    size = (mask.shape[1], mask.shape[0])
    if mask.dtype == np.uint8:
        picture = Image.frombytes("L", size, mask.tobytes())
    else:
        picture = Image.frombytes("I;16", size, mask.astype("<u2").tobytes())
    stream = io.BytesIO()
    picture.save(stream, "TIFF", compression="tiff_adobe_deflate")
    return stream.getvalue()
