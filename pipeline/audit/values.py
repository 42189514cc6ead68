"""Masks as an audit wants them: values as stored, strange ones included, so they can be counted.

``read_mask`` refuses or ignores a value that is no class; an audit names it, with its pixels. Kinds
of files in which a strange value cannot be counted (colours, binaries) are read as it reads them.
"""

from maskmill.pipeline.masks.picture import MAX_PIXELS, MaskPicture, open_picture
from maskmill.pipeline.masks.plain_png import read_plain_png
from maskmill.pipeline.masks.reading import detect, read_mask
from maskmill.pipeline.masks.registry import MASK_FORMATS, DecodeOptions
from maskmill.pipeline.masks.values import stored_values
from maskmill.pipeline.pictures.orientation import orientation_of
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.labels import LabelMap


def read_mask_values(
    data: bytes,
    labels: LabelMap,
    *,
    name: str,
    format: str = "auto",
) -> tuple[LabelMask, str]:
    """((H, W) values, what the file was read as) from the bytes of a mask.

    Values are as stored in the width of the file: class indices, its ignore value, and whatever
    else is there. Colour and binary masks come as class indices of ``labels``.

    Raises:
        MaskFailure: as ``read_mask``, but never for a stored value that is no class.
        SettingsError: no such format.
    """
    if format != "auto" and not _is_by_value(format):
        return read_mask(data, labels, name=name, format=format)
    if format == "auto":
        plain = read_plain_png(data, max_pixels=MAX_PIXELS)
        kind = _plain_kind(plain.mode, plain.palette, labels) if plain else None
        if plain and kind:
            return plain.values, f"{kind}, mode {plain.mode}"
    source = open_picture(data, name=name)
    kind = _kind(source, labels) if format == "auto" else format
    words = f"{kind}, mode {source.image.mode}{_exif_words(source)}"
    if not MASK_FORMATS[kind].by_value:
        return MASK_FORMATS[kind].decode_picture(source, labels, DecodeOptions()), words
    source.refuse_lossy()
    return stored_values(source), words


def _is_by_value(format: str) -> bool:
    return format in MASK_FORMATS and MASK_FORMATS[format].by_value


def _kind(source: MaskPicture, labels: LabelMap) -> str:
    """The mask format: at once for the usual files, by ``detect`` for all others."""
    palette = source.image.palette
    mode, colors = palette.getdata() if palette else ("", b"")
    found = _plain_kind(source.image.mode, bytes(colors) if mode == "RGB" else b"", labels)
    return found or detect(source, labels)[0]


def _plain_kind(mode: str, palette: bytes, labels: LabelMap) -> str | None:
    """Where no doubt is possible: grey levels, or index and colour that agree for every class."""
    if mode == "P" and palette:
        size = 3 * len(labels.classes)
        return "palette" if palette[:size] == labels.palette[:size] else None
    return "indexed" if mode in ("L", "I", "I;16") and len(labels.classes) != 2 else None


def _exif_words(source: MaskPicture) -> str:
    if "exif" not in source.image.info:
        return ""
    orientation = orientation_of(source.image)
    return "" if orientation == 1 else f"; its own EXIF orientation {orientation} not applied"
