"""Any mask of any kind, chosen file by file, with a sentence that says what was taken for what.

Folders mix palette and RGB masks, so the kind is decided per file. Where two readings are possible
and differ, the file is refused: a wrong guess would turn every class into another one in silence.
"""

from dataclasses import replace

import numpy as np
from PIL import Image

from maskmill.pipeline.masks.color import RGB_BITS, color_keys, packed_pixels
from maskmill.pipeline.masks.picture import MaskPicture, open_picture
from maskmill.pipeline.masks.registry import MASK_FORMATS, DecodeOptions, Unknown
from maskmill.pipeline.masks.values import stored_values, wrong_mode
from maskmill.schemas.arrays import IGNORE_INDEX, LabelMask
from maskmill.schemas.errors import ErrorCode, MaskFailure, SettingsError
from maskmill.schemas.labels import VOID_COLOR, Color, LabelMap


def read_mask(
    data: bytes,
    labels: LabelMap,
    *,
    name: str,
    format: str = "auto",
    unknown: Unknown = "error",
    options: DecodeOptions | None = None,
) -> tuple[LabelMask, str]:
    """((H, W) mask, what it was read as) from the bytes of a picture in any mask format.

    ``options`` carries more than ``unknown`` where needed and then decides alone.

    Raises:
        SettingsError: no such format; the message lists them.
        MaskFailure: as MaskFormat.decode; WRONG_MODE also for palette pictures whose indices and
            colours name different classes of the map.
    """
    if format != "auto" and format not in MASK_FORMATS:
        raise SettingsError(
            f"no mask format {format!r}; there are: auto, {', '.join(MASK_FORMATS)}"
        )
    notes: list[str] = []
    chosen = replace(options or DecodeOptions(unknown=unknown), note=notes.append)
    source = open_picture(data, name=name, max_pixels=chosen.max_pixels)
    if format == "auto":
        mask, what = _read_auto(source, labels, chosen)
    else:
        mask, what = MASK_FORMATS[format].decode_picture(source, labels, chosen), format
    what = "; ".join([what, *notes])
    if options is not None:
        options.note(what)
    return mask, what


def detect(
    source: MaskPicture, labels: LabelMap, *, unknown: Unknown = "error", binary: bool = True
) -> tuple[str, str]:
    """(name of the mask format, why) for an open picture under a label map.

    Raises:
        MaskFailure: a palette picture that can be read in two ways, or one of a wrong mode.
    """
    mode = source.image.mode
    if mode == "P":
        return _palette_kind(source, labels)
    if mode in ("RGB", "RGBA"):
        colors = np.unique(packed_pixels(source) & RGB_BITS)
        if (
            np.isin(colors, color_keys(labels)[0]).all()
            or (colors != (colors & 255) * 0x10101).any()
        ):
            return "color", f"mode {mode}"
        mode += " with equal channels"
    return _grey_kind(source, labels, mode, unknown) if binary else ("indexed", f"mode {mode}")


def _read_auto(
    source: MaskPicture, labels: LabelMap, options: DecodeOptions
) -> tuple[LabelMask, str]:
    mode = source.image.mode
    if mode in ("RGB", "RGBA") and not source.is_lossy:
        try:  # nearly always right, and then the only pass over the pixels
            mask = MASK_FORMATS["color"].decode_picture(
                source, labels, replace(options, unknown="error")
            )
            return mask, f"color (mode {mode})"
        except MaskFailure as failure:
            if failure.code is not ErrorCode.UNKNOWN_COLOR:
                raise
    kind, reason = detect(source, labels, unknown=options.unknown, binary=options.binary)
    return MASK_FORMATS[kind].decode_picture(source, labels, options), f"{kind} ({reason})"


def _palette_kind(source: MaskPicture, labels: LabelMap) -> tuple[str, str]:
    """By index; by colour only where the indices mean nothing and every colour is the map's."""
    by_color: dict[Color, set[int]] = {}
    for entry in labels.classes:
        by_color.setdefault(entry.color, set()).add(entry.index)
    by_color.setdefault(VOID_COLOR, {labels.ignore_index})
    used = _used_colors(source.image)
    if any(color not in by_color for color in used.values()):
        return "palette", "indices; the palette's colours are not those of the label map"
    moved = [index for index, color in used.items() if index not in by_color[color]]
    if not moved:
        return "palette", "indices and colours agree"
    told = f"index {moved[0]} is painted {_class_name(labels, min(by_color[used[moved[0]]]))}"
    if any(index >= len(labels.classes) and index != IGNORE_INDEX for index in used):
        return "color", f"palette of the label map's colours in another order: {told}"
    raise wrong_mode(
        source.name,
        f"is a palette picture whose indices and colours disagree: {told} in the colours of "
        f"{labels.name!r}, but is {_class_name(labels, moved[0])} by number; "
        "say which is meant with --from palette or --from color",
    )


def _grey_kind(
    source: MaskPicture, labels: LabelMap, mode: str, unknown: Unknown
) -> tuple[str, str]:
    """Indices, unless the map has two classes and the levels are 0 and 255."""
    if len(labels.classes) != 2:
        return "indexed", f"mode {mode}"
    if source.is_lossy and unknown == "nearest":
        return "binary", f"lossy, mode {mode}"
    levels = np.unique(stored_values(source)).tolist()
    if levels in ([0, IGNORE_INDEX], [IGNORE_INDEX]):
        return "binary", f"mode {mode}, levels 0 and 255: 255 is {labels.names[1]!r}, not ignore"
    return "indexed", f"mode {mode}"


def _used_colors(picture: Image.Image) -> dict[int, Color]:
    """Palette colours of the indices that occur."""
    palette = picture.getpalette() or []
    used = [index for index, count in enumerate(picture.histogram()) if count]
    padded = palette + [0] * (768 - len(palette))
    return {
        index: (padded[3 * index], padded[3 * index + 1], padded[3 * index + 2]) for index in used
    }


def _class_name(labels: LabelMap, index: int) -> str:
    if index >= len(labels.classes):
        return "ignore" if index == labels.ignore_index else f"nothing (value {index})"
    return repr(labels.names[index])
