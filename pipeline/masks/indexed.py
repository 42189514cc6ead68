"""Class indices as grey levels: 8 or 16 bits, any lossless picture file."""

import numpy as np

from maskmill.pipeline.masks.picture import MaskPicture, index_png
from maskmill.pipeline.masks.registry import DecodeOptions
from maskmill.pipeline.masks.values import (
    refuse_unknown_values,
    stored_values,
    values_to_mask,
    wrong_mode,
)
from maskmill.schemas.arrays import IGNORE_INDEX_16, LabelMask
from maskmill.schemas.labels import LabelMap


def decode(source: MaskPicture, labels: LabelMap, options: DecodeOptions) -> LabelMask:
    """(H, W) mask of a grey picture: its levels are the class indices.

    Raises:
        MaskFailure: LOSSY_MASK, WRONG_MODE for palettes and colours, UNKNOWN_VALUE.
    """
    source.refuse_lossy()
    if source.image.mode == "P" and source.image.format != "TIFF":
        raise wrong_mode(source.name, "is a palette picture; read it as 'palette' or 'color'")
    return values_to_mask(stored_values(source), labels, name=source.name, options=options)


def encode(mask: LabelMask, labels: LabelMap) -> bytes:
    """Grey PNG of an (H, W) mask, 8 bits for uint8 and 16 for uint16.

    Raises:
        MaskFailure: UNKNOWN_VALUE.
    """
    refuse_unknown_values(mask, labels)
    return index_png(mask)


def encode_16(mask: LabelMask, labels: LabelMap) -> bytes:
    """16-bit grey PNG of an (H, W) mask; ignore is 65535 whatever the map.

    Raises:
        MaskFailure: UNKNOWN_VALUE.
    """
    refuse_unknown_values(mask, labels)
    wide = mask.astype(np.uint16)
    wide[mask == labels.ignore_index] = IGNORE_INDEX_16
    return index_png(wide)
