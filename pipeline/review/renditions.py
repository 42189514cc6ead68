"""Pictures and masks at the size in which they are looked at: whole, or a box of them, scaled."""

import gzip
import json
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.pictures.preview import fitted, jpeg_bytes, preview_pixels
from maskmill.pipeline.prelabel.writers.overlay import overlay_image
from maskmill.pipeline.review.display_colors import displayed
from maskmill.pipeline.review.subject import Item, Subject
from maskmill.schemas.arrays import LabelMask, RgbImage
from maskmill.schemas.errors import ErrorCode, FileFailure, MaskFailure

LAYERS: Final = ("mask", "before", "truth", "difference", "confidence")
AGREES, DIFFERS, IGNORED = 0, 1, 2
"""Values of the layer ``difference``."""

MAX_SIDE: Final = 4096
_PIXELS_KEPT: Final = 96 << 20  # bytes of decoded pictures and masks
_FILES_KEPT: Final = 48 << 20  # bytes of encoded ones

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Crop:
    """A box of the whole picture in its own pixels, None: all of it; ``side`` bounds the answer."""

    side: int
    box: tuple[int, int, int, int] | None = None  # x, y, width, height

    def placed(self, size_hw: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of the box inside a picture; at least one pixel."""
        if self.box is None:
            return slice(0, size_hw[0]), slice(0, size_hw[1])
        x, y, width, height = self.box
        left, top = (
            min(max(0, start), end - 1) for start, end in ((x, size_hw[1]), (y, size_hw[0]))
        )
        right = max(left + 1, min(size_hw[1], x + width))
        bottom = max(top + 1, min(size_hw[0], y + height))
        return slice(top, bottom), slice(left, right)

    def shown(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of the answer: the box, its longer side at most ``side``, never enlarged."""
        rows, columns = self.placed(size_hw)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        scale = min(1.0, min(self.side, MAX_SIDE) / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))


class KeptBytes(Generic[Value]):
    """The values last asked for, as many as fit. Threads may share it."""

    def __init__(self, room: int, size: Callable[[Value], int]) -> None:
        self._room, self._size, self._lock = room, size, Lock()
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._used = 0

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made where it is not there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            if key not in self._values and self._size(value) <= self._room:
                self._values[key] = value
                self._used += self._size(value)
            while self._used > self._room:
                _, old = self._values.popitem(last=False)
                self._used -= self._size(old)
        return value


class Renditions:
    """Pictures of one subject, for threads."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._labels = displayed(subject.labels)
        self._arrays: KeptBytes[npt.NDArray[Any]] = KeptBytes(_PIXELS_KEPT, lambda one: one.nbytes)
        self._files: KeptBytes[bytes] = KeptBytes(_FILES_KEPT, len)

    def picture(self, item: Item, crop: Crop) -> bytes:
        """JPEG of the picture, or of a box of it.

        Raises:
            FileFailure: it cannot be had.
        """
        return self._files.get((item, "picture", crop), lambda: self._picture(item, crop))

    def thumbnail(self, item: Item, side: int, *, plain: bool = False) -> bytes:
        """JPEG of the picture under its mask, the classes outlined; ``plain`` without.

        Raises:
            FileFailure: neither picture nor mask can be had.
        """
        return self._files.get(
            (item, "thumbnail", side, plain), lambda: self._thumbnail(item, side, plain)
        )

    def layer(self, item: Item, name: str, crop: Crop) -> tuple[dict[str, Any], bytes]:
        """(what it is, its values gzipped: (h, w) bytes or two-byte words, rows from the top).

        Of ``confidence`` 255 is sure, of ``difference`` see AGREES; of the others class indices.

        Raises:
            FileFailure: it cannot be had.
        """
        packed = self._files.get((item, name, crop), lambda: self._layer(item, name, crop))
        head, _, body = packed.partition(b"\n")
        return json.loads(head), body

    def _picture(self, item: Item, crop: Crop) -> bytes:
        whole = self._decoded(item, crop.side if crop.box is None else None)
        if crop.box is None:
            return jpeg_bytes(fitted(whole, crop.shown(whole.shape[:2])), 88)
        rows, columns = crop.placed(whole.shape[:2])
        return jpeg_bytes(fitted(whole[rows, columns], crop.shown(whole.shape[:2])), 92)

    def _decoded(self, item: Item, side: int | None) -> RgbImage:
        """The picture; a large one that is wanted small is decoded small, and not kept."""
        key = item, "pixels"
        if side is not None and side <= 1024:
            return preview_pixels(self._subject.picture(item), name=item.key, side=side)
        return self._arrays.get(
            key, lambda: preview_pixels(self._subject.picture(item), name=item.key)
        )

    def _mask(self, item: Item) -> LabelMask:
        return self._arrays.get((item, "mask"), lambda: self._subject.mask(item))

    def _thumbnail(self, item: Item, side: int, plain: bool) -> bytes:
        mask: LabelMask | None = None
        if not plain:
            try:
                mask = self._subject.mask(item)
            except FileFailure:  # the picture alone; the row says what failed
                mask = None
        try:
            picture = preview_pixels(self._subject.picture(item), name=item.key, side=side)
        except FileFailure:
            if mask is None:
                raise
            picture = np.full((*Crop(side).shown(mask.shape), 3), 96, np.uint8)
        if mask is None:
            return jpeg_bytes(fitted(picture, Crop(side).shown(picture.shape[:2])))
        size = Crop(side).shown(mask.shape)
        return jpeg_bytes(
            overlay_image(fitted(picture, size), nearest(mask, size), self._labels, opacity=90)
        )

    def _layer(self, item: Item, name: str, crop: Crop) -> bytes:
        values = self._values(item, name)
        rows, columns = crop.placed(values.shape)
        small = nearest(values[rows, columns], crop.shown(values.shape))
        height, width = values.shape
        facts = {"width": small.shape[1], "height": small.shape[0], "bytes": small.dtype.itemsize,
                 "whole": [width, height],
                 "box": [columns.start, rows.start, columns.stop - columns.start,
                         rows.stop - rows.start]}  # fmt: skip
        body = small.astype(small.dtype.newbyteorder("<")).tobytes()
        return json.dumps(facts).encode() + b"\n" + gzip.compress(body, 1, mtime=0)

    def _values(self, item: Item, name: str) -> npt.NDArray[Any]:
        if name == "mask":
            return self._mask(item)
        if name == "confidence":
            shape = self._mask(item).shape
            found = self._arrays.get((item, name), lambda: self._confidence(item, shape))
            return found
        if name == "before":
            return self._arrays.get((item, name), lambda: self._before(item))
        truth = self._arrays.get((item, "truth"), lambda: self._truth(item))
        if name == "truth":
            return truth
        return difference(self._mask(item), truth, self._subject.labels.ignore_index)

    def _truth(self, item: Item) -> LabelMask:
        truth = self._subject.truth(item)
        if truth is None:
            raise MaskFailure(ErrorCode.MISSING_TRUTH, f"{item.key}: no truth is known for it")
        return truth

    def _before(self, item: Item) -> LabelMask:
        before = self._subject.before(item)
        if before is None:
            raise MaskFailure(ErrorCode.VANISHED, f"{item.key}: nothing was said of it before")
        return before

    def _confidence(self, item: Item, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        found = self._subject.confidence(item, shape)
        if found is None:
            raise MaskFailure(
                ErrorCode.VANISHED,
                f"{item.key}: no confidences were written; run again with --write soft",
            )
        return np.rint(found * 255).astype(np.uint8)


def nearest(values: npt.NDArray[Any], size_hw: tuple[int, int]) -> npt.NDArray[Any]:
    """(H, W) values at another size, each from the middle of what it stands for."""
    height, width = values.shape
    if (height, width) == size_hw:
        return values
    rows = (np.arange(size_hw[0]) * 2 + 1) * height // (2 * size_hw[0])
    columns = (np.arange(size_hw[1]) * 2 + 1) * width // (2 * size_hw[1])
    chosen: npt.NDArray[Any] = values[rows[:, None], columns]
    return chosen


def difference(mask: LabelMask, truth: LabelMask, ignore: int) -> npt.NDArray[np.uint8]:
    """(H, W) AGREES, DIFFERS or IGNORED (in the truth).

    Raises:
        MaskFailure: SIZE_MISMATCH.
    """
    if mask.shape != truth.shape:
        raise MaskFailure(
            ErrorCode.SIZE_MISMATCH,
            f"the mask is {mask.shape[1]} x {mask.shape[0]}, the truth "
            f"{truth.shape[1]} x {truth.shape[0]} pixels",
        )
    found = np.where(mask == truth, np.uint8(AGREES), np.uint8(DIFFERS))
    found[truth == ignore] = IGNORED
    return found
