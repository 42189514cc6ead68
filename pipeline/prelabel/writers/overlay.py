"""Pictures for people: a mask over its image with a legend, and sheets of many."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from maskmill.pipeline.masks.outlines import draw_outlines
from maskmill.pipeline.prelabel.writers.registry import OVERLAY_SIDE, ImageOutputs
from maskmill.schemas.arrays import BoolMask, LabelMask, RgbImage
from maskmill.schemas.errors import ErrorCode, MaskFailure, SettingsError
from maskmill.schemas.labels import Color, LabelMap

LONGEST_SIDE = OVERLAY_SIDE
_OPACITY, _FAINT = 140, 38  # of 255
_JPEG_QUALITY = 88
_GAP, _CAPTION = 12, 34  # pixels between pictures, and below each for its name
_PAPER: Color = (250, 250, 250)
_INK: Color = (30, 30, 30)
_IGNORED: Color = (235, 235, 235)  # light: many maps have a grey class


@dataclass(frozen=True, slots=True)
class _Entry:
    """One swatch of the legend."""

    text: str
    color: Color


def overlay_image(
    image: RgbImage, mask: LabelMask, labels: LabelMap, *, opacity: int = _OPACITY
) -> RgbImage:
    """(H, W, 3): classes blended over the image, background left as it is.

    Classes are parted by a dark and a light line. Ignored pixels become light stripes.
    ``opacity`` is that of the classes, of 255.
    """
    table = np.array([*labels.color_table().tolist(), _IGNORED], np.uint8)
    codes = np.minimum(mask, len(table) - 1)  # ignore comes last in the table
    opacities = np.full(len(table), opacity, np.uint8)
    if labels.background_index is not None:
        opacities[labels.background_index] = 0
    alpha = np.take(opacities, codes)
    ignored = mask == labels.ignore_index
    np.copyto(alpha, _FAINT, where=ignored & ~_stripes(mask.shape))
    colors, below = Image.fromarray(np.take(table, codes, axis=0)), Image.fromarray(image)
    blended = np.array(Image.composite(colors, below, Image.fromarray(alpha)))
    draw_outlines(blended, mask, labels.background_index)
    return blended


def overlay_preview(image: RgbImage, mask: LabelMask, labels: LabelMap, side: int) -> RgbImage:
    """The overlay with its longest side at most ``side``; the lines are as wide as in a large one.

    An overlay that is made small afterwards has none: they blend into grey.
    """
    return overlay_image(*_reduced(image, mask, side), labels)


def overlay_jpeg(image: RgbImage, mask: LabelMask, labels: LabelMap) -> bytes:
    """JPEG of the overlay with a strip below that names the classes, largest first.

    The image has the mask's size, or is reduced to a half, quarter or eighth of it, rounded up.

    Raises:
        MaskFailure: SIZE_MISMATCH where image and mask differ.
    """
    if image.shape[:2] not in [_part_of(mask.shape, factor) for factor in (1, 2, 4, 8)]:
        raise MaskFailure(
            ErrorCode.SIZE_MISMATCH,
            f"an image of {image.shape[1]} x {image.shape[0]} pixels cannot lie under a mask of "
            f"{mask.shape[1]} x {mask.shape[0]}",
        )
    image, mask = _reduced(image, mask, LONGEST_SIDE)
    entries = _legend_entries(mask, labels)
    picture = Image.fromarray(overlay_image(image, mask, labels))
    strip = _legend(entries, picture.width)
    page = Image.new("RGB", (picture.width, picture.height + strip.height), _PAPER)
    page.paste(picture, (0, 0))
    page.paste(strip, (0, picture.height))
    return _jpeg(page)


def _part_of(size: tuple[int, ...], factor: int) -> tuple[int, ...]:
    return tuple(-(-side // factor) for side in size)


def write_overlay(outputs: ImageOutputs) -> bytes:
    """The overlay file of one image.

    Raises:
        SettingsError: the outputs carry no image.
    """
    if outputs.image is None:
        raise SettingsError(f"{outputs.key}: an overlay needs the image, which was not kept")
    return overlay_jpeg(outputs.image, outputs.mask, outputs.labels)


def contact_sheet(
    pictures: Sequence[tuple[str, RgbImage]], *, columns: int = 0, tile: int = 320
) -> bytes:
    """JPEG of named pictures in rows, each fitted into ``tile`` pixels, its name below.

    ``columns`` 0 chooses a sheet about as wide as high.

    Raises:
        SettingsError: no pictures.
    """
    if not pictures:
        raise SettingsError("a contact sheet needs at least one picture")
    columns = min(columns or math.ceil(math.sqrt(len(pictures))), len(pictures))
    tiles = [(name, _fitted(Image.fromarray(pixels), tile)) for name, pixels in pictures]
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(picture.height for _, picture in row) + _CAPTION for row in rows]
    sheet = Image.new("RGB", (columns * (tile + _GAP) + _GAP, sum(heights) + _GAP), _PAPER)
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        _paste_row(sheet, row, top, tile)
        top += height
    return _jpeg(sheet)


def _paste_row(
    sheet: Image.Image, row: Sequence[tuple[str, Image.Image]], top: int, tile: int
) -> None:
    draw, font = ImageDraw.Draw(sheet), _font(13)
    for column, (name, picture) in enumerate(row):
        center = _GAP + column * (tile + _GAP) + tile // 2
        sheet.paste(picture, (center - picture.width // 2, top))
        text = _shortened(name, font, tile)
        draw.text((center, top + picture.height + 12), text, _INK, font, anchor="mm")


def _stripes(shape: tuple[int, ...]) -> BoolMask:
    rows, columns = (np.arange(length).astype(np.uint8) for length in shape)  # 256 = 32 stripes
    stripes: BoolMask = (rows[:, None] + columns) & np.uint8(4) == 0
    return stripes


def _reduced(image: RgbImage, mask: LabelMask, side: int) -> tuple[RgbImage, LabelMask]:
    """Both at most ``side`` long; the mask by its nearest pixels."""
    height, width = mask.shape
    scale = side / max(height, width)
    if scale >= 1:
        return image, mask
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    rows = (np.arange(size[1]) * 2 + 1) * height // (2 * size[1])
    columns = (np.arange(size[0]) * 2 + 1) * width // (2 * size[0])
    small = Image.fromarray(image).resize(size, Image.Resampling.BOX)
    return np.asarray(small), mask[rows[:, None], columns]


def _legend_entries(mask: LabelMask, labels: LabelMap) -> list[_Entry]:
    values, pixels = np.unique(mask, return_counts=True)
    entries = []
    for value, count in sorted(zip(values, pixels, strict=True), key=lambda pair: -pair[1]):
        share = f"{count / mask.size:.0%}" if count * 100 >= mask.size else "<1%"
        if value == labels.ignore_index:
            entries.append(_Entry(f"ignored (stripes) {share}", _IGNORED))
        elif not labels.classes[value].is_background:
            entry = labels.classes[value]
            entries.append(_Entry(f"{entry.name} {share}", entry.color))
    return entries or [_Entry("background only", _PAPER)]


def _legend(entries: Sequence[_Entry], width: int) -> Image.Image:
    """A strip of ``width`` pixels with a swatch and a name per class, broken into lines."""
    size = max(11, min(18, width // 40))
    font, pad = _font(size), size // 2
    line = size + pad
    places: list[tuple[_Entry, str, int, int]] = []
    x, y = pad, pad
    for entry in entries:
        text = _shortened(entry.text, font, max(width - size - 3 * pad, 1))
        needed = size + pad + math.ceil(font.getlength(text)) + 2 * pad
        if x > pad and x + needed > width:
            x, y = pad, y + line
        places.append((entry, text, x, y))
        x += needed
    strip = Image.new("RGB", (width, y + line), _PAPER)
    draw = ImageDraw.Draw(strip)
    for entry, text, x, y in places:
        draw.rectangle((x, y, x + size - 1, y + size - 1), entry.color, _INK)
        draw.text((x + size + pad, y + size / 2), text, _INK, font, anchor="lm")
    return strip


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """``text`` cut at the front, where paths differ least, until it fits."""
    if font.getlength(text) <= width:
        return text
    for start in range(1, len(text)):
        if font.getlength("…" + text[start:]) <= width:
            return "…" + text[start:]
    return "…"


def _fitted(picture: Image.Image, side: int) -> Image.Image:
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _jpeg(page: Image.Image) -> bytes:
    stream = io.BytesIO()
    page.save(stream, "JPEG", quality=_JPEG_QUALITY)
    return stream.getvalue()
