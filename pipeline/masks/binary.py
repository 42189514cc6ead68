"""Two classes as two grey levels: 0 and 255, or 0 and 1."""

import numpy as np

from maskmill.pipeline.masks.picture import MaskPicture, index_png
from maskmill.pipeline.masks.registry import DecodeOptions
from maskmill.pipeline.masks.values import (
    cast_to_mask,
    refuse_too_many_classes,
    refuse_unknown_values,
    stored_values,
    values_to_mask,
)
from maskmill.schemas.arrays import BoolMask, LabelMask
from maskmill.schemas.errors import ErrorCode, MaskFailure
from maskmill.schemas.labels import LabelMap

ON = 255


def decode(source: MaskPicture, labels: LabelMap, options: DecodeOptions) -> LabelMask:
    """(H, W) mask of a 0/255 picture: 0 is the first class, 255 (or 1, all over) the second.

    With ``unknown="nearest"`` levels between are cut at 128, which also admits JPEG files.

    Raises:
        MaskFailure: more than two classes in the map, a lossy file, or other levels.
    """
    refuse_too_many_classes(labels, 2, "a binary mask")
    return cast_to_mask(picture_to_bool(source, options), labels)


def decode_01(source: MaskPicture, labels: LabelMap, options: DecodeOptions) -> LabelMask:
    """(H, W) mask of a 0/1 picture: 0 is the first class, 1 the second, 255 ignore.

    Raises:
        MaskFailure: more than two classes in the map, a lossy file, or other levels.
    """
    refuse_too_many_classes(labels, 2, "a binary mask")
    source.refuse_lossy()
    return values_to_mask(stored_values(source), labels, name=source.name, options=options)


def picture_to_bool(source: MaskPicture, options: DecodeOptions) -> BoolMask:
    """(H, W) bool of a picture with levels {0, 255} or {0, 1}; others by ``options.unknown``.

    Raises:
        MaskFailure: LOSSY_MASK or UNKNOWN_VALUE, naming the level, unless "nearest".
    """
    if options.unknown != "nearest":
        source.refuse_lossy()
    values = stored_values(source)
    if not source.is_lossy and (values.size == 0 or values.max() <= 1):
        return np.equal(values, 1)
    between = (values != 0) & (values != ON)
    if not between.any():
        return np.equal(values, ON)
    level, count = int(values[between].min()), int(between.sum())
    sentence = f"{count} of {values.size} pixels ({count / values.size:.2%}) are neither 0 nor {ON}"
    if options.unknown != "nearest":
        raise MaskFailure(
            ErrorCode.UNKNOWN_VALUE,
            f"{source.name}: {sentence}, the first level is {level}; not a binary mask",
        )
    options.note(f"{sentence}; cut at 128")
    return np.greater_equal(values, 128)


def encode(mask: LabelMask, labels: LabelMap) -> bytes:
    """0/255 grey PNG of an (H, W) mask of at most two classes.

    Raises:
        MaskFailure: CANNOT_HOLD for more classes or for ignored pixels; UNKNOWN_VALUE.
    """
    refuse_too_many_classes(labels, 2, "a binary mask")
    refuse_unknown_values(mask, labels)
    if (mask == labels.ignore_index).any():
        raise MaskFailure(
            ErrorCode.CANNOT_HOLD,
            "ignored pixels have no place in a 0/255 mask; choose 'binary01', where they are 255",
        )
    return index_png(np.where(mask == 1, np.uint8(ON), np.uint8(0)))


def encode_01(mask: LabelMask, labels: LabelMap) -> bytes:
    """0/1 grey PNG of an (H, W) mask of at most two classes, ignore 255.

    Raises:
        MaskFailure: CANNOT_HOLD for more classes; UNKNOWN_VALUE.
    """
    refuse_too_many_classes(labels, 2, "a binary mask")
    refuse_unknown_values(mask, labels)
    return index_png(mask)
