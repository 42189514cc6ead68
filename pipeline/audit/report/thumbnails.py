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
from maskmill.pipeline.pictures.preview import preview_pixels
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.errors import FileFailure
from maskmill.schemas.labels import VOID_COLOR, LabelMap

SIDE = 224  # pixels of the longer side
_AGREE, _WRONG, _IGNORED = (46, 52, 64), (235, 64, 52), (150, 150, 150)

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels of the masks."""


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """data: URIs; ``image`` is '' where no picture is known or it cannot be shown."""

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
        return Thumbnails(
            image=picture_of(row.get("image_uri"), truth.shape, place),
            truth=png_uri(self._colors[left]), prediction=png_uri(self._colors[right]),
            difference=png_uri(_difference(left, right, self._num_classes)),
        )  # fmt: skip


def colors_of(labels: LabelMap) -> npt.NDArray[np.uint8]:
    """(C + 2, 3) colours of a class map: the classes, ignore, no class."""
    return np.concatenate([labels.color_table(), [VOID_COLOR, (255, 0, 255)]]).astype(np.uint8)


def picture_of(uri: str | None, shape: tuple[int, ...], place: tuple[slice, slice]) -> str:
    """A small JPEG of the picture, '' where it cannot be had or is not of the masks' size."""
    if not uri:
        return ""
    try:
        picture = Image.fromarray(preview_pixels(read_bytes(uri), name=uri))
    except Exception:  # a picture that cannot be shown is no reason to lose the report
        return ""
    if (picture.height, picture.width) != tuple(shape):
        return ""
    rows, columns = place
    picture = picture.crop((columns.start, rows.start, columns.stop, rows.stop))
    picture.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=72, optimize=True)
    return _uri("jpeg", stream.getvalue())


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
