"""Masks as an audit wants them: values as stored, strange ones included, so they can be counted.

``read_mask`` refuses or ignores a value that is no class; an audit names it, with its pixels. Kinds
of files in which a strange value cannot be counted (colours, binaries) are read as it reads them.
"""

from pipeline.masks.picture import MaskPicture, open_picture
from pipeline.masks.reading import detect, read_mask
from pipeline.masks.registry import MASK_FORMATS, DecodeOptions
from pipeline.masks.values import stored_values
from schemas.arrays import LabelMask
from schemas.labels import LabelMap

_ORIENTATION = 0x0112
_BY_VALUE = ("palette", "palette_voc", "indexed", "indexed16", "tiff", "bmp")


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
    if format not in ("auto", *_BY_VALUE):
        return read_mask(data, labels, name=name, format=format)
    source = open_picture(data, name=name)
    kind = _kind(source, labels) if format == "auto" else format
    words = f"{kind}, mode {source.image.mode}{_exif_words(source)}"
    if kind not in _BY_VALUE:
        return MASK_FORMATS[kind].decode_picture(source, labels, DecodeOptions()), words
    source.refuse_lossy()
    return stored_values(source), words


def _kind(source: MaskPicture, labels: LabelMap) -> str:
    """The mask format: at once for the usual files, by ``detect`` for all others."""
    mode = source.image.mode
    if mode == "P" and _has_palette_of(source, labels):
        return "palette"
    if mode in ("L", "I", "I;16") and len(labels.classes) != 2:
        return "indexed"
    return detect(source, labels)[0]


def _has_palette_of(source: MaskPicture, labels: LabelMap) -> bool:
    """True where index and colour agree for every class, so that no doubt is possible."""
    size = 3 * len(labels.classes)
    palette = source.image.palette
    mode, colors = palette.getdata() if palette else ("", b"")
    return mode == "RGB" and bytes(colors[:size]) == labels.palette[:size]


def _exif_words(source: MaskPicture) -> str:
    if "exif" not in source.image.info:
        return ""
    orientation = source.image.getexif().get(_ORIENTATION, 1)
    return "" if orientation == 1 else f"; its own EXIF orientation {orientation} not applied"
