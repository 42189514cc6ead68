"""Cutouts: the picture with its subject kept, a PNG with alpha or a JPEG."""

import io

from PIL import Image

from maskmill.pipeline.pictures.jpeg import MAX_SIDE
from maskmill.pipeline.prelabel.cutout import CutoutSettings, chosen_classes, cut_out
from maskmill.pipeline.prelabel.writers.registry import ImageOutputs
from maskmill.schemas.errors import ErrorCode, ImageFailure, SettingsError

_JPEG_QUALITY = 92
_PNG_LEVEL = 4


def write_cutout(outputs: ImageOutputs, *, settings: CutoutSettings) -> bytes:
    """The cutout file of one image; the same outputs and settings give the same bytes.

    Raises:
        ImageFailure: CANNOT_HOLD for a JPEG longer than the format allows, OUT_OF_MEMORY.
        SettingsError: the outputs carry no image or no grid, or lack a class that was named.
    """
    if outputs.image is None or not outputs.views:
        raise SettingsError(f"{outputs.key}: a cutout needs the image and the network's grid")
    if not settings.has_alpha and max(outputs.mask.shape) > MAX_SIDE:
        raise ImageFailure(
            ErrorCode.CANNOT_HOLD,
            f"{outputs.key}: a JPEG has at most {MAX_SIDE} pixels a side, the picture is "
            f"{outputs.mask.shape[1]}x{outputs.mask.shape[0]}; --background remove writes PNG",
        )
    classes = chosen_classes(settings, outputs.labels)
    try:
        pixels = cut_out(outputs.image, outputs.views, classes, settings)
        return _encoded(Image.fromarray(pixels))
    except MemoryError as error:
        raise ImageFailure(
            ErrorCode.OUT_OF_MEMORY,
            f"{outputs.key}: no memory to cut it out; lower --workers, or --max-pixels to leave "
            "it out",
        ) from error


def _encoded(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    if picture.mode == "RGBA":
        picture.save(stream, "PNG", compress_level=_PNG_LEVEL)
    else:
        picture.save(stream, "JPEG", quality=_JPEG_QUALITY)
    return stream.getvalue()
