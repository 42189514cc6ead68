"""Small pictures of a pair for a page: image, truth, prediction, difference, as data URIs."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from maskmill.pipeline.audit.class_maps import ClassMaps
from maskmill.pipeline.audit.operator import AuditSettings
from maskmill.pipeline.audit.pair import resized_nearest
from maskmill.pipeline.masks.outlines import draw_outlines
from maskmill.pipeline.pictures.preview import fitted, jpeg_bytes, preview_pixels
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.arrays import LabelMask, RgbImage
from maskmill.schemas.errors import FileFailure
from maskmill.schemas.labels import VOID_COLOR, LabelMap

SIDE = 384  # pixels of the longer side: sharp when enlarged to half a page
_OPACITY, _QUALITY = 0.5, 76
_AGREE, _WRONG, _IGNORED = (46, 52, 64), (235, 64, 52), (150, 150, 150)

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels of the masks."""


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """data: URIs; ``image`` is '' where no picture is known or it cannot be shown.

    ``truth`` and ``prediction`` lie over the picture where there is one, else they are plain.
    """

    image: str
    truth: str
    prediction: str
    difference: str


class ThumbnailMaker:
    """Reads a pair again and draws it in the label map's colours."""

    def __init__(self, settings: AuditSettings) -> None:
        self._maps = ClassMaps(settings)
        self._num_classes = len(settings.labels.classes)
        self._colors = colors_of(settings.labels)
        self._background = settings.labels.background_index
        self._opacity = np.full(self._num_classes + 2, _OPACITY, np.float32)
        if self._background is not None:
            self._opacity[self._background] = 0

    def draw(self, row: dict[str, Any], box: Box | None = None) -> Thumbnails | None:
        """Thumbnails of a row that has the uris, or of a box of it; None where a file is gone."""
        try:
            truth, prediction = self._maps.truth(row), self._maps.prediction(row)
        except FileFailure:
            return None
        if prediction.shape != truth.shape:
            prediction = resized_nearest(prediction, truth.shape)
        place = _slices(box, truth.shape)
        left, right = shrunk(truth[place]), shrunk(prediction[place])
        picture = small_picture(row.get("image_uri"), truth.shape, place)
        return Thumbnails(
            image=jpeg_uri(picture),
            truth=self._shown(left, picture), prediction=self._shown(right, picture),
            difference=png_uri(_difference(left, right, self._num_classes)),
        )  # fmt: skip

    def _shown(self, mask: LabelMask, picture: RgbImage | None) -> str:
        """The classes over the picture, parted by outlines; alone where there is no picture."""
        if picture is None:
            return png_uri(self._colors[mask])
        below = fitted(picture, (mask.shape[0], mask.shape[1])).astype(np.float32)
        opacity = self._opacity[mask][..., None]
        blended = np.rint(below + (self._colors[mask] - below) * opacity).astype(np.uint8)
        draw_outlines(blended, mask, self._background)
        return jpeg_uri(blended)


def colors_of(labels: LabelMap) -> npt.NDArray[np.uint8]:
    """(C + 2, 3) colours of a class map: the classes, ignore, no class."""
    return np.concatenate([labels.color_table(), [VOID_COLOR, (255, 0, 255)]]).astype(np.uint8)


def small_picture(
    uri: str | None, shape: tuple[int, ...], place: tuple[slice, slice]
) -> RgbImage | None:
    """A box of the picture, small; None where it cannot be had or is not of the masks' size."""
    if not uri:
        return None
    try:
        whole = preview_pixels(read_bytes(uri), name=uri)
    except Exception:  # a picture that cannot be shown is no reason to lose the report
        return None
    if whole.shape[:2] != tuple(shape):
        return None
    picture = Image.fromarray(whole[place])
    picture.thumbnail((SIDE, SIDE))
    return np.asarray(picture)


def picture_of(uri: str | None, shape: tuple[int, ...], place: tuple[slice, slice]) -> str:
    """The same as a data: URI, '' where there is none."""
    return jpeg_uri(small_picture(uri, shape, place))


def jpeg_uri(pixels: RgbImage | None) -> str:
    """(H, W, 3) as a data: URI, '' for None."""
    return "" if pixels is None else _uri("jpeg", jpeg_bytes(pixels, _QUALITY))


def _slices(box: Box | None, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The whole picture, or the box with a third of its size around it."""
    if box is None:
        return slice(0, shape[0]), slice(0, shape[1])
    x, y, width, height = box
    margin = max(12, max(width, height) // 3)
    return (
        slice(max(0, y - margin), min(shape[0], y + height + margin)),
        slice(max(0, x - margin), min(shape[1], x + width + margin)),
    )


def shrunk(mask: LabelMask) -> LabelMask:
    """At most ``SIDE`` pixels on each side, by nearest neighbour."""
    scale = SIDE / max(mask.shape)
    if scale >= 1:
        return mask
    return resized_nearest(mask, tuple(max(1, round(side * scale)) for side in mask.shape))


def _difference(left: LabelMask, right: LabelMask, num_classes: int) -> npt.NDArray[np.uint8]:
    painted = np.empty((*left.shape, 3), dtype=np.uint8)
    painted[:] = _AGREE
    painted[left != right] = _WRONG
    painted[left >= num_classes] = _IGNORED
    return painted


def png_uri(pixels: npt.NDArray[np.uint8]) -> str:
    """(H, W, 3) as a data: URI."""
    picture = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return _uri("png", stream.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
