"""Plain folders of masks in any mask format, and folders with one binary file per class."""

import json
import posixpath
from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np

from maskmill.pipeline.datasets.binary_masks import TAKES_IGNORE, refuse_binary_masks
from maskmill.pipeline.datasets.class_lists import class_list
from maskmill.pipeline.datasets.class_masks import read_class_mask
from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.formats import label_studio_png
from maskmill.pipeline.datasets.left_out import OTHER_NAMES, Omission
from maskmill.pipeline.datasets.mask_names import NamePairs, pair_names
from maskmill.pipeline.datasets.picture_sizes import picture_beside
from maskmill.pipeline.datasets.samples import (
    DatasetIndex,
    DatasetReader,
    DatasetWriter,
    FinishedSamples,
    OutputFolder,
    ReadContext,
    ReadOptions,
    Sample,
    SampleItem,
    Target,
    WriteContext,
    Written,
)
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.datasets.vocabulary import labels_or
from maskmill.pipeline.masks.per_class import class_of_file, merge_binary, split_binary
from maskmill.pipeline.masks.picture import index_png
from maskmill.pipeline.masks.registry import MASK_FORMATS, DecodeOptions
from maskmill.pipeline.pictures.names import (
    EXACT_MASK_EXTENSIONS,
    LOSSY_EXTENSIONS,
    MASK_EXTENSIONS,
    extension_of,
)
from maskmill.schemas.errors import DocumentFailure, ErrorCode, SettingsError
from maskmill.schemas.labels import LabelMap

FOLDER: Final = "masks/"
PICTURES: Final = "images/"
LABELS: Final = "labels.json"


def reader_of(mask_format: str) -> DatasetReader:
    """The reader of folders in one mask format; ``auto`` decides file by file."""
    return DatasetReader(
        partial(index, mask_format=mask_format), partial(read_class_mask, mask_format=mask_format)
    )


def writer_of(mask_format: str) -> DatasetWriter:
    """The writer of folders in one mask format."""
    return DatasetWriter(partial(write, mask_format=mask_format), finish)


def index(tree: FileTree, options: ReadOptions, mask_format: str = "auto") -> DatasetIndex:
    """Every picture below ``masks/``, or of the whole tree where there is no such folder.

    Pictures are found by the names of the masks (mask_names.py), in ``--images`` or in the tree.

    JPEGs between other files are photographs, not masks, unless ``--unknown nearest`` asks for
    lossy masks.

    Labels: a class list beside the masks (CLASS_LISTS), else ``--labels``.

    Raises:
        DocumentFailure: no picture.
        SettingsError: no label map, names that pair in two ways, or masks of 0 and 255 under a map
            of more than two classes.
    """
    reason = label_studio_png.recognise(tree) if tree.selected is None else None
    if reason is not None:
        raise SettingsError(f"{tree.uri}: {reason}; say --from label_studio_png, which merges them")
    labels = _labels(tree, options)
    prefix, skipped = _prefix(tree), _skipped(tree, options)
    names = tree.names() if tree.selected is None else (tree.selected,)
    masks = [name for name in names if _is_mask(name, prefix, skipped)]
    if not masks:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{tree.uri} holds no masks of this layout")
    takes_binary = mask_format == "auto" and len(labels.classes) == 2
    if mask_format in TAKES_IGNORE and not takes_binary and not tree.has(LABELS):
        refuse_binary_masks(tree, masks, labels, options)
    where = options.images or (tree if tree.selected is None else None)
    pictures = set(picture_beside(where).values()) if where is not None else set()
    is_one = where is not None and where.uri == tree.uri
    pairs = pair_names(masks, pictures, options.mask_suffix, one_tree=is_one)
    note = pairs.note()
    return DatasetIndex(
        labels=labels,
        items=_items(pairs, prefix),
        extras={"binary": True},
        notes=() if note is None else (note,),
        left_out={Omission(OTHER_NAMES): pairs.others} if pairs.others else {},
    )


def _items(pairs: NamePairs, prefix: str) -> Iterator[SampleItem]:
    """An item per mask. Its key is its picture's path, else its own without extension."""
    for name in pairs.masks:
        image = pairs.pictures.get(name)
        own = posixpath.splitext(name.removeprefix(prefix))[0]
        key = own if image is None else image.removeprefix(PICTURES)
        yield SampleItem(key=key, payload={"mask": name, "image": image})


def write(sample: Sample, target: Target, context: WriteContext, mask_format: str) -> Written:
    """``masks/<stem>`` in the mask format.

    Raises:
        MaskFailure: the format cannot hold the mask.
    """
    chosen = MASK_FORMATS[mask_format]
    path = f"{FOLDER}{target.stem}{chosen.extension}"
    return Written(
        files={path: chosen.encode(sample.mask, sample.labels)}, image_path=f"images/{sample.key}"
    )


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``labels.json`` with the label map, and ``<split>.txt`` lists where there are splits."""
    with out.open(LABELS) as stream:
        text = json.dumps(context.labels.to_dict(), ensure_ascii=False, indent=1)
        stream.write(text.encode())
    for split, chosen in samples.by_split():
        if split:
            with out.open(f"{split}.txt") as stream:
                stream.writelines(f"{sample.key}\n".encode() for sample in chosen)


def index_per_class(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """Files ``<picture>_<class>.png``, grouped by picture.

    Raises:
        DocumentFailure: none of that kind.
        SettingsError: no label map.
    """
    labels = _labels(tree, options)
    prefix = _prefix(tree)
    groups: dict[str, dict[str, str]] = {}
    for name in tree.names():
        stem, extension = posixpath.splitext(name)
        found = class_of_file(stem, labels)
        if name.startswith(prefix) and extension.lower() in (".png", ".bmp") and found:
            groups.setdefault(found[0].removeprefix(prefix), {})[found[1]] = name
    if not groups:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{tree.uri} holds no <picture>_<class>.png of {labels.name!r}"
        )
    items = (SampleItem(key=key, payload=files) for key, files in groups.items())
    return DatasetIndex(labels=labels, items=items)


def read_per_class(item: SampleItem, context: ReadContext) -> Sample:
    """Merge the files of one picture; classes later in the label map cover earlier ones."""
    notes: list[str] = []
    mask = merge_binary(
        {label: context.tree.read(name) for label, name in item.payload.items()},
        context.labels,
        name=item.key,
        options=DecodeOptions(unknown=context.unknown, note=notes.append),
    )
    return Sample(key=item.key, mask=mask, labels=context.labels, notes=tuple(notes))


def write_per_class(sample: Sample, target: Target, context: WriteContext) -> Written:
    """``masks/<stem>_<class>.png`` per class; the background too where it is all there is.

    Raises:
        MaskFailure: ignore pixels, which one file per class cannot hold.
    """
    layers = split_binary(sample.mask, sample.labels)
    if not layers:
        name = sample.labels.names[int(sample.mask.flat[0])]
        layers = {name: index_png(np.full(sample.size_hw, 255, dtype=np.uint8))}
    files = {f"{FOLDER}{target.stem}_{label}.png": data for label, data in layers.items()}
    return Written(files=files, image_path=f"images/{sample.key}")


def _prefix(tree: FileTree) -> str:
    return FOLDER if any(name.startswith(FOLDER) for name in tree.names()) else ""


def _skipped(tree: FileTree, options: ReadOptions) -> tuple[str, ...]:
    """Endings of files that are taken for photographs."""
    if options.unknown == "nearest" or tree.selected is not None:
        return ()
    has_exact = any(extension_of(name) in EXACT_MASK_EXTENSIONS for name in tree.names())
    return LOSSY_EXTENSIONS if has_exact else ()


def _is_mask(name: str, prefix: str, skipped: tuple[str, ...]) -> bool:
    """True of the files that may be masks; which of them are pictures, their names will tell."""
    if not name.lower().endswith(MASK_EXTENSIONS) or name.lower().endswith(skipped):
        return False
    return name.startswith(prefix) if prefix else not name.startswith(PICTURES)


def _labels(tree: FileTree, options: ReadOptions) -> LabelMap:
    listed = class_list(tree, _prefix(tree))
    return listed or labels_or(options.labels, "a folder of masks")


def recognise(tree: FileTree) -> str | None:
    """Masks in ``masks/`` beside the label map that we write."""
    has_masks = FOLDER.rstrip("/") in tree.tops() and LABELS in tree.tops()
    return f"{FOLDER} beside {LABELS}" if has_masks else None


MASKS = DatasetFormat(
    reader=reader_of("auto"), recogniser=recognise, holds_ignore=True, pairs_by_name=True
)
PER_CLASS = DatasetFormat(
    reader=DatasetReader(index_per_class, read_per_class),
    writer=DatasetWriter(write_per_class, finish),
)
IN_MASK_FORMAT: Final = {
    name: DatasetFormat(
        reader=reader_of(name),
        writer=writer_of(name),
        mask_format=name,
        holds_ignore=entry.holds_ignore,
        max_classes=entry.max_classes,
        pairs_by_name=True,
    )
    for name, entry in MASK_FORMATS.items()
}
