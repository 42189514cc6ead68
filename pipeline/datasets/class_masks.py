"""One class mask file per picture: what VOC, CamVid, Cityscapes, ADE20K and plain folders share."""

import posixpath
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.datasets.item_spool import ItemSpool
from maskmill.pipeline.datasets.left_out import OF_NO_CLASS, TO_IGNORE, LeftOut, Omission
from maskmill.pipeline.datasets.picture_search import find_picture
from maskmill.pipeline.datasets.picture_sizes import picture_beside
from maskmill.pipeline.datasets.samples import (
    ReadContext,
    ReadOptions,
    Sample,
    SampleItem,
)
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.masks.picture import index_png, open_picture
from maskmill.pipeline.masks.reading import read_mask
from maskmill.pipeline.masks.registry import DecodeOptions
from maskmill.pipeline.pictures.names import MASK_EXTENSIONS
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.errors import DocumentFailure, ErrorCode, MaskFailure
from maskmill.schemas.labels import LabelMap, voc_color


def mask_items(
    tree: FileTree,
    options: ReadOptions,
    key_of: Callable[[str], str | None],
    picture_of: Callable[[str], str],
    splits: Mapping[str, str] | None = None,
) -> ItemSpool:
    """An item per mask file.

    ``key_of`` gives the key without extension of a file name, None for files that are no class
    masks; ``picture_of`` the picture's name without extension in the tree; ``splits`` the split
    by key. The key gets the picture's extension where the picture is there.

    Raises:
        DocumentFailure: no mask at all.
    """
    pictures = picture_beside(options.images or tree)
    items = ItemSpool()
    for name in tree.names() if tree.selected is None else (tree.selected,):
        key = key_of(name) if name.lower().endswith(MASK_EXTENSIONS) else None
        if key is None:
            continue
        image = pictures.get(picture_of(key)) or _elsewhere(options.images, key)
        if image == name and options.images is None:
            image = None  # a mask is not its own picture
        extension = f".{image.rpartition('.')[2]}" if image else ""
        items.append(
            SampleItem(
                key=key + extension,
                split=(splits or {}).get(key, ""),
                payload={"mask": name, "image": image},
            )
        )
    if not items:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{tree.uri} holds no masks of this layout")
    return items


def _elsewhere(images: FileTree | None, key: str) -> str | None:
    """The picture in the folder of --images; None also where several could be it."""
    try:
        return None if images is None else find_picture(images, key, near=key)
    except DocumentFailure:  # said again where it matters: when the picture is to be copied
        return None


def items_by_split(
    tree: FileTree, options: ReadOptions, masks: str, pictures: str, splits: Container[str]
) -> Iterator[SampleItem]:
    """An item per mask below the folder ``masks``, its picture at the same place in ``pictures``.

    A first folder that is one of ``splits`` is the item's split and no part of its key. Folder
    names end with a slash.

    Raises:
        DocumentFailure: no mask at all.
    """
    keys = {
        name: posixpath.splitext(name[len(masks) :])[0]
        for name in tree.names()
        if name.startswith(masks)
    }
    first = {key: key.split("/", 1)[0] for key in keys.values()}
    found = mask_items(
        tree,
        options,
        keys.get,
        lambda key: f"{pictures}{key}",
        {key: split for key, split in first.items() if split in splits},
    )
    for item in found:
        yield replace(item, key=item.key.removeprefix(f"{item.split}/") if item.split else item.key)


def read_class_mask(item: SampleItem, context: ReadContext, mask_format: str = "auto") -> Sample:
    """The mask of an item by the codecs of pipeline/masks.

    Grey 255 is ignore; where an index put ``binary`` into its extras, 0 and 255 may be the two
    classes of a map instead.

    Raises:
        MaskFailure: not a mask of the label map.
    """
    name = item.payload["mask"]
    mask, what, left_out = decode_mask(context.tree.read(name), context, name, mask_format)
    return Sample(
        key=item.key,
        mask=mask,
        labels=context.labels,
        image=item.payload["image"],
        notes=(what,),
        left_out=left_out,
    )


def decode_mask(
    data: bytes, context: ReadContext, name: str, mask_format: str = "auto"
) -> tuple[LabelMask, str, LeftOut]:
    """((H, W) mask, a note of what it was read as, pixels of no class that became ignore).

    Raises as :func:`read_class_mask`.
    """
    notes: list[str] = []
    strange: list[int] = []
    options = DecodeOptions(
        unknown=context.unknown,
        binary=bool(context.extras.get("binary", False)),
        note=notes.append,
        lost=strange.append,
    )
    mask, _ = read_mask(data, context.labels, name=name, format=mask_format, options=options)
    left_out = {Omission(TO_IGNORE, OF_NO_CLASS): sum(strange)} if any(strange) else {}
    return mask, f"read as {notes[-1]}", left_out


def palette_png(mask: LabelMask, labels: LabelMap, palette: bytes | None = None) -> bytes:
    """An 8-bit palette PNG.

    Raises:
        MaskFailure: more than 255 classes.
    """
    if mask.dtype != np.uint8:
        raise MaskFailure(
            ErrorCode.CANNOT_HOLD,
            f"an 8-bit mask cannot hold the {len(labels.classes)} classes of {labels.name!r}; "
            "choose a format with 16-bit masks or merge classes with --map",
        )
    return index_png(mask, palette=palette or labels.palette)


def is_colored(data: bytes, name: str) -> bool:
    """True for a picture that stores a colour per pixel, not an index.

    Raises:
        MaskFailure: not a picture.
    """
    return open_picture(data, name=name).image.mode in ("RGB", "RGBA")


def object_numbers(data: bytes, name: str) -> npt.NDArray[np.int32]:
    """(H, W) int32 object numbers of a VOC-style object mask: palette indices, grey values, or
    colours of the VOC colormap. 255 and 0 are no object.

    Raises:
        MaskFailure: a colour outside the VOC colormap.
    """
    picture = open_picture(data, name=name).image
    if picture.mode in ("P", "L", "I;16", "I", "1"):
        numbers = np.asarray(picture).astype(np.int32)
        return np.where(numbers == 255, 0, numbers)
    rgb = np.asarray(picture.convert("RGB")).astype(np.int32)
    packed = rgb[:, :, 0] << 16 | rgb[:, :, 1] << 8 | rgb[:, :, 2]
    colors = [voc_color(index) for index in range(255)]
    keys = np.array([red << 16 | green << 8 | blue for red, green, blue in colors])
    order = np.argsort(keys)
    at = np.minimum(np.searchsorted(keys[order], packed), len(keys) - 1)
    if (keys[order][at] != packed).any():
        raise MaskFailure(
            ErrorCode.UNKNOWN_COLOR, f"{name}: an object colour outside the VOC colormap"
        )
    return order[at].astype(np.int32)
