"""Sizes of the pictures beside the labels, from their headers, after EXIF orientation."""

from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.pictures.decoding import picture_header
from maskmill.pipeline.pictures.names import pictures_by_stem


def picture_size(tree: FileTree, name: str) -> tuple[int, int]:
    """(height, width) of a picture as it is shown. Only the header is decoded.

    Raises:
        ImageFailure: not a picture, or its header cannot be read.
    """
    header = picture_header(tree.read(name), name=name)
    return header.height, header.width


def picture_beside(tree: FileTree) -> dict[str, str]:
    """Pictures of a tree by name without extension; the first extension of the list wins."""
    return pictures_by_stem(tree.names())
