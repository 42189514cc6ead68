"""The picture of a sample: where it is, whatever the source calls it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from maskmill.pipeline.convert.conversion import ConversionPlan
from maskmill.pipeline.datasets.picture_search import find_picture
from maskmill.pipeline.datasets.samples import Sample
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.pictures.decoding import decode_image, picture_header
from maskmill.pipeline.pictures.frame_place import place_of_frame
from maskmill.pipeline.pictures.jpeg import rgb_to_jpeg
from maskmill.pipeline.pictures.names import IMAGE_EXTENSIONS, extension_of
from maskmill.pipeline.storage.filesystems import is_uri, read_bytes
from maskmill.schemas.errors import DocumentFailure, ErrorCode


@dataclass(frozen=True, slots=True)
class FoundPicture:
    """A file of a tree, a place of its own where ``tree`` is None, or the bytes themselves."""

    name: str
    tree: FileTree | None = None
    data: bytes | None = None

    def read(self) -> bytes:
        """All bytes of the file.

        Raises:
            FileFailure: it cannot be read.
        """
        if self.data is not None:
            return self.data
        if self.tree is not None:
            return self.tree.read(self.name)
        data = read_bytes(self.name)
        return data if place_of_frame(self.name) is None else _frame_to_jpeg(data, self.name)

    @property
    def extension(self) -> str:
        """Of what :meth:`read` gives, with its dot."""
        is_frame = self.tree is None and place_of_frame(self.name) is not None
        return ".jpg" if is_frame else extension_of(self.name)


def picture_of(plan: ConversionPlan, sample: Sample, near: str) -> FoundPicture | None:
    """The picture in --images, by its name or the sample's key; else where the source has it, as a
    file before inside a document.

    None where neither has it. The folders in ``near`` speak for one of several of a name.

    Raises:
        DocumentFailure: several pictures are meant alike.
    """
    context = plan.read_context
    is_place = sample.image is not None and (is_uri(sample.image) or sample.image.startswith("/"))
    if context.images is not None:
        names = (sample.key,) if is_place else (sample.image, sample.key)
        found = find_picture(context.images, *names, near=near)
        if found is not None:
            return FoundPicture(found, context.images)
    if sample.image is None:
        return None
    if is_place and sample.embedded is None:
        return FoundPicture(sample.image)
    found = find_picture(context.tree, sample.image, near=near)
    if found is None and sample.embedded is not None:
        return FoundPicture(_named(sample.image, sample.embedded), data=sample.embedded)
    return None if found is None else FoundPicture(found, context.tree)


def _named(name: str, data: bytes) -> str:
    """The name of a picture inside a document; one without extension gets that of its bytes.

    Raises:
        ImageFailure: the bytes are no picture.
    """
    if extension_of(name) in IMAGE_EXTENSIONS:
        return name
    return f"{name}.{picture_header(data, name=name).format.lower()}"


def with_picture(sample: Sample, found: FoundPicture | None) -> Sample:
    """The sample with the picture that is copied. A key without extension gets the picture's."""
    if found is None:
        return replace(sample, image=None)
    extension = found.extension
    is_named = extension_of(sample.key) in (extension, *IMAGE_EXTENSIONS)
    key = sample.key if is_named else sample.key + extension
    return replace(sample, image=found.name, key=key)


def _frame_to_jpeg(data: bytes, name: str) -> bytes:
    """As ``prelabel --write frames`` keeps them."""
    return rgb_to_jpeg(decode_image(data, name=name).pixels, name=name)


def refuse_other_size(sample: Sample, name: str, data: bytes) -> None:
    """A picture beside a mask of another size would be a data set that no trainer can use.

    Args:
        sample: its mask.
        name: of the picture.
        data: its encoded bytes; only the header is decoded.

    Raises:
        ImageFailure: they are no picture.
        DocumentFailure: SIZE_MISMATCH or ORIENTATION_MISMATCH.
    """
    header = picture_header(data, name=name)
    height, width = sample.size_hw
    if (header.height, header.width) == (height, width):
        return
    told = (
        f"{sample.key}: the mask has {width}x{height} pixels and its picture, {name}, "
        f"{header.width}x{header.height} as it is shown"
    )
    if (header.height, header.width) == (width, height):
        raise DocumentFailure(
            ErrorCode.ORIENTATION_MISMATCH,
            f"{told}: the labels were drawn on the picture without its EXIF orientation, or on "
            "another one; turn them, or leave out --with-images",
        )
    raise DocumentFailure(
        ErrorCode.SIZE_MISMATCH,
        f"{told}: give the pictures that were labelled with --images, or leave out --with-images",
    )


def missing_picture(sample: Sample) -> DocumentFailure:
    """What a sample fails with whose picture was asked for and is not there."""
    told = "" if sample.image is None else f" (the source calls it {sample.image})"
    return DocumentFailure(
        ErrorCode.MISSING_IMAGE,
        f"{sample.key}: its picture was not found{told}; give the folder that holds it with "
        "--images, or leave out --with-images",
    )


def places_near(entry: Mapping[str, Any]) -> str:
    """The folder of the document that has the sample of a manifest row, and its split."""
    payload = json.loads(entry["payload"])
    document = payload.get("document") if isinstance(payload, dict) else None
    return f"{str(document or '').rpartition('/')[0]}/{entry['split']}"
