"""What is in one mask file: mode, palette, values with their counts, islands; nothing is judged."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.masks.picture import MaskPicture, open_picture
from maskmill.pipeline.masks.run_lengths import value_counts
from maskmill.pipeline.pictures.orientation import orientation_of
from maskmill.schemas.errors import FileFailure
from maskmill.schemas.labels import Color, voc_color

PHOTO_COLORS: Final = 256
PHOTO_GREYS: Final = 150
PHOTO_TOP: Final = 32
PHOTO_ISLANDS: Final = 0.05
MOST_COLORS: Final = 4096
"""Colours of one file that are kept with their counts; the most frequent ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCensus:
    """The facts of one mask file.

    ``values`` counts stored indices or grey levels, ``colors`` counts RGB colours (of an RGB
    file); one of the two is empty. ``num_distinct`` counts all of them. ``islands`` are pixels
    unlike all their eight neighbours; ``gradient_share`` is the share of borders, along rows,
    that are crossed in more than one step up or down, as interpolation leaves them.
    ``pixels_sha256`` is over size and pixels, so equal masks have one. ``failure`` is a sentence
    where the file cannot be read.
    """

    name: str
    bytes: int
    failure: str = ""
    error_code: str = ""
    format: str = ""
    mode: str = ""
    size_hw: tuple[int, int] = (0, 0)
    palette: str = ""
    is_lossy: bool = False
    orientation: int = 1
    values: Mapping[int, int]
    colors: Mapping[Color, int]
    num_distinct: int = 0
    islands: int = 0
    gradient_share: float = 0.0
    pixels_sha256: str = ""

    @property
    def num_pixels(self) -> int:
        """Height times width."""
        return self.size_hw[0] * self.size_hw[1]

    @property
    def is_photograph(self) -> bool:
        """True where so many values share the pixels that no class can have a region.

        Also where many pixels differ from all around them: a picture on a plain ground has regions.
        """
        counts = sorted([*self.values.values(), *self.colors.values()], reverse=True)
        enough = self.num_distinct > (PHOTO_COLORS if self.colors else PHOTO_GREYS)
        is_spread = sum(counts[:PHOTO_TOP]) < 0.6 * self.num_pixels
        return enough and (is_spread or self.islands > PHOTO_ISLANDS * self.num_pixels)

    @property
    def is_empty(self) -> bool:
        """True where all pixels are one and the same background-like value: 0, black or 255."""
        return self.num_distinct == 1 and (
            set(self.values) <= {0, 255} and set(self.colors) <= {(0, 0, 0)}
        )


def census_of(data: bytes, name: str) -> FileCensus:
    """The census of one file; a file that cannot be read gets a ``failure``, no exception."""
    try:
        picture = open_picture(data, name=name)
        return _brief(_census(picture, data, name))
    except FileFailure as failure:
        return FileCensus(
            name=name,
            bytes=len(data),
            failure=str(failure),
            error_code=failure.code.value,
            values={},
            colors={},
        )


def _brief(census: FileCensus) -> FileCensus:
    """Without the thousands of rare values of a photograph, which nobody looks at."""
    if not census.is_photograph:
        return census
    values = dict(islice(census.values.items(), PHOTO_TOP))
    colors = dict(islice(census.colors.items(), PHOTO_TOP))
    return replace(census, values=values, colors=colors)


def palette_kind(picture: MaskPicture) -> str:
    """``voc``, ``grey`` or ``own`` for a palette picture, '' for others."""
    image = picture.image
    if image.mode != "P":
        return ""
    palette = image.getpalette() or []
    used: list[int] = np.flatnonzero(np.bincount(np.asarray(image).ravel())).tolist()
    colors = {value: tuple(palette[3 * value : 3 * value + 3]) for value in used}
    if all(colors[value] == voc_color(value) for value in used if value != 255):
        return "voc"
    return "grey" if all(len(set(color)) == 1 for color in colors.values()) else "own"


def count_islands(pixels: npt.NDArray[np.int64]) -> int:
    """How many pixels of an (H, W) array differ from all their neighbours, eight or fewer."""
    alone = np.ones(pixels.shape, dtype=np.bool_)
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        first, second = _shifted(pixels.shape, down, right)
        same = pixels[first] == pixels[second]
        alone[first] &= ~same
        alone[second] &= ~same
    return int(np.count_nonzero(alone)) if pixels.size > 1 else 0


def gradient_share(pixels: npt.NDArray[np.int64]) -> float:
    """Of the pixels unlike their left neighbour, the share strictly between left and right one."""
    steps = np.diff(pixels, axis=1)
    borders = int(np.count_nonzero(steps))
    between = int(np.count_nonzero(np.sign(steps[:, 1:]) * np.sign(steps[:, :-1]) > 0))
    return between / borders if borders else 0.0


def _census(picture: MaskPicture, data: bytes, name: str) -> FileCensus:
    image = picture.image
    by_color = image.mode not in ("L", "P", "1", "I;16", "I", "LA")
    pixels = _packed(picture) if by_color else _values(picture)
    found, counts = value_counts(pixels)
    order = np.argsort(-counts)[:MOST_COLORS]
    kept = dict(zip(found[order].tolist(), counts[order].tolist(), strict=True))
    height, width = pixels.shape
    digest = hashlib.sha256(f"{height}x{width}:{image.mode}:".encode())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return FileCensus(
        name=name,
        bytes=len(data),
        format=image.format or "",
        mode=image.mode,
        size_hw=(height, width),
        palette=palette_kind(picture),
        is_lossy=picture.is_lossy,
        orientation=orientation_of(image, data),
        values={} if by_color else kept,
        colors={_unpacked(value): count for value, count in kept.items()} if by_color else {},
        num_distinct=len(found),
        islands=count_islands(pixels),
        gradient_share=0.0 if by_color else gradient_share(pixels),
        pixels_sha256=digest.hexdigest(),
    )


def _values(picture: MaskPicture) -> npt.NDArray[np.int64]:
    image = picture.image
    plain = image.getchannel("L") if image.mode == "LA" else image
    return np.asarray(plain).astype(np.int64)


def _packed(picture: MaskPicture) -> npt.NDArray[np.int64]:
    pixels = np.asarray(picture.image.convert("RGB")).astype(np.int64)
    packed: npt.NDArray[np.int64] = pixels[:, :, 0] << 16 | pixels[:, :, 1] << 8 | pixels[:, :, 2]
    return packed


def _unpacked(value: int) -> Color:
    return value >> 16 & 255, value >> 8 & 255, value & 255


def _shifted(
    shape: tuple[int, ...], down: int, right: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Windows of each pixel that has a neighbour (down, right), and of that neighbour."""
    height, width = shape
    rows = slice(0, height - down), slice(down, height)
    if right >= 0:
        columns = slice(0, width - right), slice(right, width)
    else:
        columns = slice(-right, width), slice(0, width + right)
    return (rows[0], columns[0]), (rows[1], columns[1])
