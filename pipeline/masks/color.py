"""RGB masks: every class has its colour. Exact, in one pass, and loud about foreign colours.

A pixel is packed into one integer. Masks are made of runs, so only the first pixel of each run is
looked up in the sorted colours of the map; cost beyond decoding follows the number of runs.
"""

import io
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from maskmill.pipeline.masks.picture import MaskPicture, png_bytes
from maskmill.pipeline.masks.registry import DecodeOptions
from maskmill.pipeline.masks.values import (
    cast_to_mask,
    is_16_bit_color,
    refuse_unknown_values,
    wrong_mode,
)
from maskmill.pipeline.masks.void import void_color
from maskmill.schemas.arrays import LabelMask, RgbImage
from maskmill.schemas.errors import ErrorCode, MaskFailure
from maskmill.schemas.labels import Color, LabelMap

Packed = npt.NDArray[np.uint32]
"""R + 256 G + 65536 B; the highest byte of pixels (not of keys) is whatever Pillow left there."""

RGB_BITS = np.uint32(0xFFFFFF)


@dataclass(frozen=True, slots=True)
class _Runs:
    """A mask in row order as runs of one colour: (N,) first pixels, lengths and colours."""

    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    colors: Packed
    shape: tuple[int, int]


def decode(source: MaskPicture, labels: LabelMap, options: DecodeOptions) -> LabelMask:
    """(H, W) mask of an RGB picture, or of a palette or grey picture by its colours.

    The void colour 224,224,192 is ignore where no class has it.

    Raises:
        MaskFailure: UNKNOWN_COLOR, naming the colour, its count and first pixel; LOSSY_MASK unless
            ``unknown="nearest"``; CANNOT_HOLD for a colour that two classes share; WRONG_MODE.
    """
    if options.unknown != "nearest":
        source.refuse_lossy()
    return packed_to_mask(packed_pixels(source), labels, name=source.name, options=options)


def packed_pixels(source: MaskPicture) -> Packed:
    """(H, W) colours of a picture, one integer each.

    Raises:
        MaskFailure: WRONG_MODE for transparency, 16 bits per channel, or other colour spaces.
    """
    image = source.image
    if image.mode in ("P", "L", "1"):
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode not in ("RGB", "RGBA") or is_16_bit_color(source.data):
        raise wrong_mode(source.name, f"has mode {image.mode}, not 8-bit RGB, palette or grey")
    if image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255):
        raise wrong_mode(source.name, "has transparent pixels; which class they are is not said")
    return _memory_of(image).view("<u4").reshape(image.height, image.width)


def _memory_of(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Four bytes per pixel of an RGB or RGBA image, without a copy where Pillow holds one block."""
    try:
        return cast("npt.NDArray[np.uint8]", pa.array(image).flatten().to_numpy())
    except ValueError:  # large images lie in several blocks
        raw = image.tobytes("raw", "RGBX" if image.mode == "RGB" else "RGBA")
        return np.frombuffer(raw, np.uint8)


def packed_to_mask(
    packed: Packed, labels: LabelMap, *, name: str, options: DecodeOptions
) -> LabelMask:
    """(H, W) mask of packed colours. Raises as :func:`decode`."""
    keys, classes = color_keys(labels)
    runs = _runs_of(packed)
    at = np.searchsorted(keys, runs.colors)
    at[at == len(keys)] = 0
    indices = classes[at]
    foreign = keys[at] != runs.colors
    if foreign.any():
        indices[foreign] = _foreign_indices(runs, foreign, labels, name, options)
    return cast("LabelMask", np.repeat(indices, runs.lengths).reshape(runs.shape))


def color_keys(labels: LabelMap) -> tuple[Packed, LabelMask]:
    """Packed colours that mean one thing, ascending, with the class index (or ignore) of each.

    Raises:
        MaskFailure: CANNOT_HOLD where no colour means one thing.
    """
    shared = shared_colors(labels)
    own = [entry for entry in labels.classes if entry.color not in shared]
    colors = [entry.color for entry in own]
    indices = [entry.index for entry in own]
    void = void_color(labels)
    if void is not None:
        colors.append(void)
        indices.append(labels.ignore_index)
    if not colors:
        raise _shared_failure(*next(iter(shared.items())), labels)
    packed = np.array([_packed(color) for color in colors], np.uint32)
    order = np.argsort(packed)
    return packed[order], cast_to_mask(np.array(indices)[order], labels)


def shared_colors(labels: LabelMap) -> dict[Color, list[str]]:
    """Colours that several classes have, as Cityscapes paints all it does not evaluate black."""
    names: dict[Color, list[str]] = {}
    for entry in labels.classes:
        names.setdefault(entry.color, []).append(entry.name)
    return {color: sharers for color, sharers in names.items() if len(sharers) > 1}


def mask_to_colors(mask: LabelMask, labels: LabelMap) -> RgbImage:
    """(H, W, 3) colours of a mask.

    Raises:
        MaskFailure: CANNOT_HOLD for classes that share a colour, or where ignore has none;
            UNKNOWN_VALUE.
    """
    refuse_unknown_values(mask, labels)
    _refuse_shared(mask, labels)
    table = np.zeros((labels.ignore_index + 1, 3), np.uint8)
    table[: len(labels.classes)] = labels.color_table()
    void = void_color(labels)
    if void is None and (mask == labels.ignore_index).any():
        raise MaskFailure(
            ErrorCode.CANNOT_HOLD,
            f"label map {labels.name!r} leaves no colour for ignored pixels: "
            "224,224,192 and white are classes",
        )
    if void is not None:
        table[labels.ignore_index] = void
    return table[mask]


def encode(mask: LabelMask, labels: LabelMap) -> bytes:
    """RGB PNG of an (H, W) mask. Raises as :func:`mask_to_colors`."""
    return png_bytes(Image.fromarray(mask_to_colors(mask, labels)))


def encode_ppm(mask: LabelMask, labels: LabelMap) -> bytes:
    """Binary PPM (P6) of an (H, W) mask. Raises as :func:`mask_to_colors`."""
    stream = io.BytesIO()
    Image.fromarray(mask_to_colors(mask, labels)).save(stream, "PPM")
    return stream.getvalue()


def _runs_of(packed: Packed) -> _Runs:
    flat = packed.ravel()
    starts = np.zeros(min(flat.size, 1), np.int64)
    if flat.size:
        starts = np.concatenate([starts, np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(starts, append=flat.size)
    return _Runs(starts, lengths, flat[starts] & RGB_BITS, (packed.shape[0], packed.shape[1]))


def _refuse_shared(mask: LabelMask, labels: LabelMap) -> None:
    for color, sharers in shared_colors(labels).items():
        indices = [entry.index for entry in labels.classes if entry.color == color]
        if np.isin(mask, indices).any():
            raise _shared_failure(color, sharers, labels)


def _shared_failure(
    color: Color, sharers: list[str], labels: LabelMap, where: str = ""
) -> MaskFailure:
    return MaskFailure(
        ErrorCode.CANNOT_HOLD,
        f"{where}label map {labels.name!r} paints {', '.join(sharers)} in the same colour "
        f"{_text(color)}: give each class a colour of its own, or convert with "
        "--unknown ignore",
    )


def _foreign_indices(
    runs: _Runs, foreign: npt.NDArray[np.bool_], labels: LabelMap, name: str, options: DecodeOptions
) -> LabelMask:
    """Class index of each run of a colour that is nobody's or several classes', by the policy."""
    colors, inverse = np.unique(runs.colors[foreign], return_inverse=True)
    pixels = np.bincount(inverse, runs.lengths[foreign]).astype(np.int64)
    sentence = _foreign_sentence(runs, foreign, colors, pixels, labels)
    shared = {_packed(color): color for color in shared_colors(labels)}
    ambiguous = np.isin(colors, list(shared))
    if options.unknown == "error":
        if ambiguous.all():
            color = shared[int(colors[0])]
            raise _shared_failure(color, shared_colors(labels)[color], labels, f"{name}: ")
        raise MaskFailure(
            ErrorCode.UNKNOWN_COLOR,
            f"{name}: {sentence}; add it to the label map, or convert with --unknown ignore or "
            "nearest",
        )
    if options.unknown == "ignore":
        options.note(f"{sentence}; read as ignore")
        options.lost(int(pixels.sum()))
        return cast_to_mask(np.full(len(inverse), labels.ignore_index), labels)
    indices, snapped = _nearest(colors, labels, options.max_distance)
    snapped &= ~ambiguous
    indices[ambiguous] = labels.ignore_index
    options.lost(int(pixels[~snapped].sum()))
    options.note(
        f"{sentence}; {pixels[snapped].sum()} pixels snapped to the nearest colour, "
        f"{pixels[~snapped].sum()} farther than {options.max_distance:g} read as ignore"
    )
    return indices[inverse]


def _foreign_sentence(
    runs: _Runs,
    foreign: npt.NDArray[np.bool_],
    colors: Packed,
    pixels: npt.NDArray[np.int64],
    labels: LabelMap,
) -> str:
    most = int(np.argmax(pixels))
    first = int(runs.starts[foreign][runs.colors[foreign] == colors[most]][0])
    row, column = divmod(first, runs.shape[1])
    color = _unpacked(colors[most : most + 1])[0]
    distances = np.linalg.norm(labels.color_table().astype(np.float64) - color, axis=1)
    closest = labels.classes[int(distances.argmin())]
    more = f" ({len(colors)} unknown colours in all)" if len(colors) > 1 else ""
    return (
        f"colour {_text(color)} at {pixels[most]} pixels, first at y={row} x={column}, is not in "
        f"label map {labels.name!r}{more}; nearest is {closest.name} {_text(closest.color)}"
    )


def _nearest(
    colors: Packed, labels: LabelMap, limit: float
) -> tuple[LabelMask, npt.NDArray[np.bool_]]:
    """Index of the nearest colour of the map for each colour, ignore beyond ``limit``."""
    keys, classes = color_keys(labels)
    known = _unpacked(keys)
    indices = np.empty(len(colors), np.int64)
    within = np.empty(len(colors), np.bool_)
    for start in range(0, len(colors), 4096):  # a noisy picture has as many colours as pixels
        part = _unpacked(colors[start : start + 4096])
        squares = ((part[:, None, :] - known[None, :, :]) ** 2).sum(axis=2)
        best = squares.argmin(axis=1)
        near = squares[np.arange(len(part)), best] <= limit * limit
        indices[start : start + 4096] = np.where(near, classes[best], labels.ignore_index)
        within[start : start + 4096] = near
    return cast_to_mask(indices, labels), within


def _packed(color: Color) -> int:
    return color[0] | color[1] << 8 | color[2] << 16


def _unpacked(packed: Packed) -> npt.NDArray[np.int64]:
    """(N, 3) channels."""
    shifts = np.array([0, 8, 16], np.uint32)
    channels: npt.NDArray[np.int64] = (packed[:, None] >> shifts & np.uint32(255)).astype(np.int64)
    return channels


def _text(color: Color | npt.NDArray[np.int64]) -> str:
    return ",".join(str(int(channel)) for channel in color)
