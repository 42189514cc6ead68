"""Sizes of the pictures beside the labels, from their headers, after EXIF orientation."""

import io
import warnings

from PIL import Image, UnidentifiedImageError

from maskmill.pipeline.datasets.samples import (
    IMAGE_SUFFIXES,
)
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.schemas.errors import ErrorCode, ImageFailure

ORIENTATION_TAG = 0x0112
TURNED = (5, 6, 7, 8)


def picture_size(tree: FileTree, name: str) -> tuple[int, int]:
    """(height, width) of a picture as it is shown. Only the header is decoded.

    Raises:
        ImageFailure: not a picture.
    """
    data = tree.read(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data))
            orientation = picture.getexif().get(ORIENTATION_TAG, 1)
    except UnidentifiedImageError as error:  # its message holds an address, other in every run
        raise ImageFailure(ErrorCode.NOT_AN_IMAGE, f"{name}: not a picture") from error
    except Exception as error:  # Pillow's readers raise many kinds on foreign bytes
        raise ImageFailure(ErrorCode.NOT_AN_IMAGE, f"{name}: not a picture: {error}") from error
    width, height = picture.size
    return (width, height) if orientation in TURNED else (height, width)


def picture_beside(tree: FileTree) -> dict[str, str]:
    """Pictures of a tree by name without extension; the first extension of the list wins."""
    rank = {suffix: position for position, suffix in enumerate(IMAGE_SUFFIXES)}
    found: dict[str, str] = {}
    for name in tree.names():
        stem, _, suffix = name.rpartition(".")
        if suffix.lower() in rank:
            known = found.get(stem)
            if known is None or rank[suffix.lower()] < rank[known.rpartition(".")[2].lower()]:
                found[stem] = name
    return found
