"""The picture itself as a JPEG, upright: annotation tools take no frames out of our rows."""

from maskmill.pipeline.pictures.jpeg import rgb_to_jpeg
from maskmill.pipeline.prelabel.writers.registry import ImageOutputs
from maskmill.schemas.errors import SettingsError


def write_frame(outputs: ImageOutputs) -> bytes:
    """The JPEG of one image, at its own size; the same outputs give the same bytes.

    Raises:
        ImageFailure: CANNOT_HOLD for a picture longer than the format allows.
        SettingsError: the outputs carry no image.
    """
    if outputs.image is None:
        raise SettingsError(f"{outputs.key}: the picture was not kept")
    return rgb_to_jpeg(outputs.image, name=outputs.key)
