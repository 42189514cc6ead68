"""Pairs: a picture of the data set with its mask, read and checked; the one way they are read."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np

from maskmill.pipeline.convert.conversion import ConversionPlan
from maskmill.pipeline.convert.operator import mapped_sample
from maskmill.pipeline.convert.pictures import picture_of, places_near
from maskmill.pipeline.datasets.samples import Sample
from maskmill.pipeline.pictures.decoding import decode_image
from maskmill.pipeline.views.preparation import resize_picture, resized_hw
from maskmill.pipeline.views.preprocessing import Preprocessing
from maskmill.schemas.arrays import LabelMask, RgbImage
from maskmill.schemas.errors import DocumentFailure, ErrorCode, MaskFailure

KEPT_BYTES: Final = 512 << 20
"""Pictures and masks that a worker keeps in memory between epochs."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """``pixels`` (H, W, 3) uint8 and ``mask`` (H, W) of class indices, of one size."""

    pixels: RgbImage
    mask: LabelMask
    notes: tuple[str, ...] = ()
    resized_from: str | None = None

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return int(self.pixels.nbytes + self.mask.nbytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairReader:
    """Reads the pair of a manifest row, at its own size."""

    plan: ConversionPlan
    resize: Literal["refuse", "nearest"]
    max_pixels: int

    def __call__(self, entry: Mapping[str, Any]) -> Pair:
        """The pair.

        Raises:
            FileFailure: mask or picture cannot be read, the picture is missing, or the mask is of
                another size and is not to be resized.
        """
        sample = mapped_sample(self.plan, dict(entry))
        found = picture_of(self.plan, sample, places_near(entry))
        if found is None:
            told = "" if sample.image is None else f" (the source calls it {sample.image})"
            raise DocumentFailure(
                ErrorCode.MISSING_IMAGE,
                f"{sample.key}: its picture was not found{told}; give the folder that holds it "
                "with --images",
            )
        picture = decode_image(found.read(), name=found.name, max_pixels=self.max_pixels)
        mask, resized_from = self._fitted(sample, picture.pixels.shape[:2])
        return Pair(picture.pixels, mask, (*sample.notes, *picture.notes), resized_from)

    def _fitted(self, sample: Sample, size_hw: tuple[int, ...]) -> tuple[LabelMask, str | None]:
        height, width = size_hw
        if sample.size_hw == (height, width):
            return sample.mask, None
        there = f"{sample.size_hw[1]}x{sample.size_hw[0]}"
        if self.resize == "refuse":
            raise MaskFailure(
                ErrorCode.SIZE_MISMATCH,
                f"{sample.key}: the mask is {there}, the picture {width}x{height} (width x height, "
                "EXIF orientation applied); --resize nearest scales such masks",
            )
        return nearest(sample.mask, (height, width)), there


def nearest(mask: LabelMask, size_hw: tuple[int, int]) -> LabelMask:
    """(H, W) mask of another size: each pixel takes the one under its centre."""
    rows, cols = (
        np.minimum(((np.arange(size) + 0.5) * (old / size)).astype(np.intp), old - 1)
        for size, old in zip(size_hw, mask.shape, strict=True)
    )
    return np.ascontiguousarray(mask[rows][:, cols])


@dataclass(slots=True, eq=False)
class ReducedPairs:
    """Pairs no larger than training can use, those read last kept in memory. Threads may share it.

    What is given does not depend on what is kept.
    """

    reader: PairReader
    preprocessing: Preprocessing
    largest_scale: float
    kept_bytes: int = KEPT_BYTES
    _kept: OrderedDict[int, Pair] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, entry: Mapping[str, Any]) -> Pair:
        """The pair of a manifest row; larger ones are scaled down to what the largest scale needs.

        Raises:
            FileFailure: as :class:`PairReader`.
        """
        place = int(entry["image_id"])
        with self._lock:
            if place in self._kept:
                self._kept.move_to_end(place)
                return self._kept[place]
        pair = self._reduced(self.reader(entry))
        with self._lock:
            self._kept[place] = pair
            while sum(one.nbytes for one in self._kept.values()) > self.kept_bytes:
                self._kept.popitem(last=False)
        return pair

    def _reduced(self, pair: Pair) -> Pair:
        size_hw = (pair.mask.shape[0], pair.mask.shape[1])
        wanted = scaled_hw(size_hw, self.preprocessing, self.largest_scale)
        if wanted[0] >= size_hw[0] or wanted[1] >= size_hw[1]:
            return pair
        pixels = resize_picture(pair.pixels, wanted)
        return Pair(pixels, nearest(pair.mask, wanted), pair.notes, pair.resized_from)


def scaled_hw(size_hw: tuple[int, int], rule: Preprocessing, scale: float) -> tuple[int, int]:
    """The size that an input rule gives a picture, times ``scale``; no side below 1."""
    height, width = resized_hw(size_hw, rule)
    return max(1, round(height * scale)), max(1, round(width * scale))
