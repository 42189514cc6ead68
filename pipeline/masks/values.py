"""Pixel values of a picture as they are in the file, and as class indices of a label map."""

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from maskmill.pipeline.masks.picture import MaskPicture
from maskmill.pipeline.masks.registry import DecodeOptions
from maskmill.schemas.arrays import IGNORE_INDEX, IGNORE_INDEX_16, LabelMask
from maskmill.schemas.errors import ErrorCode, MaskFailure
from maskmill.schemas.labels import LabelMap

Values = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""(H, W) values as stored: grey levels or palette indices."""

_PNG_BIT_DEPTH, _PNG_COLOR_TYPE = 24, 25  # offsets in a PNG file: fields of IHDR
_GREY = 0
_PGM_HEADER = re.compile(rb"P[25](?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+(\d+)")
_COLOR_TYPES = (2, 6)  # RGB, RGBA


def stored_values(source: MaskPicture) -> Values:
    """(H, W) grey levels or palette indices exactly as the file stores them.

    Pillow stretches 2- and 4-bit PNG and PGM of odd depth to the full range; that is undone.
    Nothing is ever read through ``convert("L")``, which would turn palette indices into luminance.
    RGB pictures with three equal channels count as grey.

    Raises:
        MaskFailure: WRONG_MODE for colours, partial transparency, floats or negative values.
    """
    picture, mode = source.image, source.image.mode
    if mode in ("L", "P"):
        values = _levels(picture)
        return _unstretched(values, source.data) if mode == "L" else values
    if mode == "1":
        return np.asarray(picture, np.uint8)
    if mode.startswith("I"):
        return _integers(_unstretched(np.asarray(picture), source.data), source.name)
    if mode in ("LA", "RGB", "RGBA") and not is_16_bit_color(source.data):
        return _grey_channel(np.asarray(picture), mode, source.name)
    raise wrong_mode(source.name, f"a mode {mode} picture holds no class indices")


def _levels(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """(H, W) of a picture of one byte per pixel: its own memory, which is half the price of a copy.

    Pictures of many megapixels lie in several pieces of memory and are copied.
    """
    width, height = picture.size
    try:
        shared = pa.array(picture).buffers()[1]
    except ValueError:
        return np.asarray(picture, np.uint8)
    return np.frombuffer(shared, np.uint8, count=width * height).reshape(height, width)


def values_to_mask(
    values: Values, labels: LabelMap, *, name: str, options: DecodeOptions
) -> LabelMask:
    """Class indices of ``labels.mask_dtype`` from stored values.

    The ignore value of the file's own depth (255, 65535) becomes the map's ignore index; 255 in a
    map of more than 255 classes is class 255.

    Raises:
        MaskFailure: UNKNOWN_VALUE; the message names the smallest value, its count and share.
    """
    num_classes, ignore = len(labels.classes), labels.ignore_index
    marks = [IGNORE_INDEX] if num_classes <= IGNORE_INDEX else []
    if values.dtype == np.uint16:
        marks.append(IGNORE_INDEX_16)
    ignored = np.isin(values, marks)
    unknown = (values >= num_classes) & ~ignored
    if unknown.any():
        sentence = _unknown_sentence(values, unknown, labels)
        if options.unknown != "ignore":
            raise MaskFailure(ErrorCode.UNKNOWN_VALUE, f"{name}: {sentence}")
        options.note(f"{sentence}; read as ignore")
        options.lost(int(np.count_nonzero(unknown)))
        ignored |= unknown
    mask = cast_to_mask(values, labels)
    np.copyto(mask, ignore, where=ignored)
    return mask


def cast_to_mask(values: npt.NDArray[Any], labels: LabelMap) -> LabelMask:
    """A copy of class indices in the dtype of the label map."""
    return values.astype(np.uint8) if labels.mask_dtype is np.uint8 else values.astype(np.uint16)


def refuse_unknown_values(mask: LabelMask, labels: LabelMap) -> None:
    """Masks on their way out hold classes and ignore, nothing else.

    Raises:
        MaskFailure: UNKNOWN_VALUE.
    """
    unknown = (mask >= len(labels.classes)) & (mask != labels.ignore_index)
    if unknown.any():
        raise MaskFailure(ErrorCode.UNKNOWN_VALUE, _unknown_sentence(mask, unknown, labels))


def refuse_too_many_classes(labels: LabelMap, limit: int, what: str) -> None:
    """Formats with few values cannot tell many classes apart.

    Raises:
        MaskFailure: CANNOT_HOLD.
    """
    if len(labels.classes) > limit:
        raise MaskFailure(
            ErrorCode.CANNOT_HOLD,
            f"label map {labels.name!r} has {len(labels.classes)} classes; {what} holds {limit}: "
            "choose 'indexed', which goes to 16 bits",
        )


def wrong_mode(name: str, what: str) -> MaskFailure:
    """The failure of a picture that is not stored the way its format wants it."""
    return MaskFailure(ErrorCode.WRONG_MODE, f"{name}: {what}")


def _unknown_sentence(values: Values, unknown: npt.NDArray[np.bool_], labels: LabelMap) -> str:
    found, counts = np.unique(values[unknown], return_counts=True)
    shown = ", ".join(
        f"value {value} covers {count} of {values.size} pixels ({count / values.size:.2%})"
        for value, count in zip(found[:3].tolist(), counts[:3].tolist(), strict=True)
    )
    more = f" and {len(found) - 3} more values" if len(found) > 3 else ""
    return (
        f"{shown}{more}; label map {labels.name!r} has classes 0 to {len(labels.classes) - 1} "
        f"and {labels.ignore_index} = ignore"
    )


def _unstretched(values: npt.NDArray[Any], data: bytes) -> npt.NDArray[Any]:
    """Undo Pillow's stretching of grey levels to 0..255 (or 0..65535), which is one to one."""
    if data.startswith(b"\x89PNG") and data[_PNG_COLOR_TYPE] == _GREY:
        return values // {2: 85, 4: 17}.get(data[_PNG_BIT_DEPTH], 1)
    header = _PGM_HEADER.match(data[:1024])
    highest = int(header.group(1)) if header else 0
    full = 255 if values.dtype == np.uint8 else 65535
    if highest in (0, full):
        return values
    return np.rint(values * (highest / full)).astype(values.dtype)


def is_16_bit_color(data: bytes) -> bool:
    """True for RGB PNG files of 16 bits per channel, of which Pillow keeps only the upper 8."""
    is_color = data.startswith(b"\x89PNG") and data[_PNG_COLOR_TYPE] in _COLOR_TYPES
    return is_color and data[_PNG_BIT_DEPTH] == 16


def _integers(values: npt.NDArray[np.int32], name: str) -> npt.NDArray[np.uint16]:
    if values.size and (int(values.min()) < 0 or int(values.max()) > 65535):
        raise wrong_mode(name, f"holds values from {values.min()} to {values.max()}, not 0..65535")
    return values.astype(np.uint16)


def _grey_channel(pixels: npt.NDArray[np.uint8], mode: str, name: str) -> npt.NDArray[np.uint8]:
    if mode.endswith("A") and (pixels[..., -1] != 255).any():
        raise wrong_mode(name, "has transparent pixels; which class they are is not said")
    first = pixels[..., 0]
    if mode != "LA" and ((pixels[..., 1] != first).any() or (pixels[..., 2] != first).any()):
        raise wrong_mode(name, "holds colours, not class indices; read it as 'color'")
    return np.ascontiguousarray(first)
