"""The mask itself: a palette PNG whose pixel values are class indices."""

from collections.abc import Mapping

import numpy as np

from maskmill.pipeline.masks.picture import index_png
from maskmill.pipeline.masks.registry import MASK_FORMATS
from maskmill.pipeline.prelabel.writers.registry import ImageOutputs
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.labels import LabelMap


def mask_to_png(
    mask: LabelMask, labels: LabelMap, *, text: Mapping[str, str] | None = None
) -> bytes:
    """PNG of an (H, W) mask: uint8 with the map's palette, uint16 as 16-bit grey.

    The same arguments give the same bytes. ``text`` becomes tEXt chunks, for provenance.
    """
    return index_png(mask, palette=labels.palette, text=text)


def write_mask(outputs: ImageOutputs) -> bytes:
    """The mask file of one image."""
    return mask_to_png(outputs.mask, outputs.labels, text=outputs.text)


def png_to_mask(data: bytes, labels: LabelMap, *, name: str) -> LabelMask:
    """(H, W) mask from the bytes of a file that :func:`mask_to_png` made.

    Raises:
        MaskFailure: as MaskFormat.decode.
    """
    kind = "palette" if labels.mask_dtype is np.uint8 else "indexed"
    return MASK_FORMATS[kind].decode(data, labels, name=name)
