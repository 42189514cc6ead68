"""Palette pictures: the stored index is the class, the colours are for the eye."""

import io

import numpy as np
from PIL import Image

from maskmill.pipeline.masks.picture import MaskPicture, index_png
from maskmill.pipeline.masks.registry import DecodeOptions
from maskmill.pipeline.masks.values import (
    refuse_too_many_classes,
    refuse_unknown_values,
    stored_values,
    values_to_mask,
    wrong_mode,
)
from maskmill.schemas.arrays import IGNORE_INDEX, LabelMask
from maskmill.schemas.labels import LabelMap, voc_color

_VOC_PALETTE = bytes(channel for index in range(256) for channel in voc_color(index))


def decode(source: MaskPicture, labels: LabelMap, options: DecodeOptions) -> LabelMask:
    """(H, W) mask of a palette picture: the indices as stored, whatever their colours.

    Raises:
        MaskFailure: LOSSY_MASK, WRONG_MODE without a palette, UNKNOWN_VALUE.
    """
    source.refuse_lossy()
    mode = source.image.mode
    is_grey_bmp = source.image.format == "BMP" and mode == "L"  # Pillow's name for a grey ramp
    if mode != "P" and not is_grey_bmp:
        raise wrong_mode(
            source.name, f"has mode {mode}, no palette; read it as 'indexed' or 'color'"
        )
    return values_to_mask(stored_values(source), labels, name=source.name, options=options)


def encode(mask: LabelMask, labels: LabelMap) -> bytes:
    """Palette PNG of an (H, W) uint8 mask in the label map's colours.

    Raises:
        MaskFailure: CANNOT_HOLD beyond 255 classes; UNKNOWN_VALUE.
    """
    refuse_too_many_classes(labels, IGNORE_INDEX, "a palette PNG")
    refuse_unknown_values(mask, labels)
    return index_png(mask, palette=labels.palette)


def encode_voc(mask: LabelMask, labels: LabelMap) -> bytes:
    """Palette PNG of an (H, W) uint8 mask in Pascal VOC's colours, whatever the map's.

    Raises:
        MaskFailure: CANNOT_HOLD beyond 255 classes; UNKNOWN_VALUE.
    """
    refuse_too_many_classes(labels, IGNORE_INDEX, "a palette PNG")
    refuse_unknown_values(mask, labels)
    return index_png(mask, palette=_VOC_PALETTE)


def encode_bmp(mask: LabelMask, labels: LabelMap) -> bytes:
    """8-bit BMP of an (H, W) uint8 mask in the label map's colours.

    Raises:
        MaskFailure: CANNOT_HOLD beyond 255 classes; UNKNOWN_VALUE.
    """
    refuse_too_many_classes(labels, IGNORE_INDEX, "a BMP")
    refuse_unknown_values(mask, labels)
    picture = Image.frombytes("P", (mask.shape[1], mask.shape[0]), np.asarray(mask).tobytes())
    picture.putpalette(labels.palette)
    stream = io.BytesIO()
    picture.save(stream, "BMP")
    return stream.getvalue()
