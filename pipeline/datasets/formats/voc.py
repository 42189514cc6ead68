"""Pascal VOC segmentation: palette PNGs of classes and objects, and ImageSets lists.

Facts: VOC devkit layout, datumaro's voc/format.py, TF's build_voc2012_data.py. A ``labelmap.txt``
(CVAT, datumaro) names other classes than VOC's 21.
"""

import posixpath
import re
from dataclasses import replace
from typing import Final

import numpy as np

from maskmill.pipeline.datasets.class_lists import class_list, read_labels
from maskmill.pipeline.datasets.class_masks import (
    mask_items,
    object_numbers,
    palette_png,
    read_class_mask,
)
from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.documents.labelmap_txt import labelmap_to_text
from maskmill.pipeline.datasets.samples import (
    DatasetIndex,
    DatasetReader,
    DatasetWriter,
    FinishedSamples,
    ObjectMap,
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
from maskmill.pipeline.datasets.vocabulary import text_lines
from maskmill.pipeline.masks.picture import index_png
from maskmill.pipeline.masks.run_lengths import distinct
from maskmill.pipeline.pictures.names import MASK_EXTENSIONS
from maskmill.schemas.labels import LabelMap, builtin, voc_color

LABELMAP: Final = "labelmap.txt"
CLASSES: Final = "SegmentationClass/"
OBJECTS: Final = "SegmentationObject/"
LISTS: Final = "ImageSets/Segmentation/"
VOC_ID: Final = r"(?:19|20)\d\d_\d{6}"
"""What VOC calls its pictures: without a class list, masks so called are VOC's."""
VOC_PALETTE: Final = bytes(channel for index in range(256) for channel in voc_color(index))


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """Every class mask. Labels: ``labelmap.txt`` or another list, ``--labels``, VOC's own.

    Raises:
        DocumentFailure: no SegmentationClass folder, or a broken labelmap.txt.
    """
    prefix = _prefix(tree)
    labels = _labels(tree, prefix, options)
    items = mask_items(
        tree,
        options,
        lambda name: _id_of(name, prefix),
        lambda key: f"{prefix}JPEGImages/{key}",
        _splits(tree, prefix),
    )
    return DatasetIndex(labels=labels, items=items, notes=_guesses(tree, prefix, options))


def read(item: SampleItem, context: ReadContext) -> Sample:
    """The class mask, with its objects where SegmentationObject has them."""
    sample = read_class_mask(item, context)
    name = posixpath.splitext(item.payload["mask"].replace(CLASSES, OBJECTS, 1))[0] + ".png"
    if not context.tree.has(name):
        return sample
    objects = object_numbers(context.tree.read(name), name)
    if objects.shape != sample.mask.shape:
        return replace(sample, notes=(*sample.notes, f"{name} has another size, left out"))
    return replace(sample, objects=objects) if objects.any() else sample


def write(sample: Sample, target: Target, context: WriteContext) -> Written:
    """Class mask in the label map's colours; object mask where objects are known."""
    files = {f"{CLASSES}{target.stem}.png": palette_png(sample.mask, sample.labels)}
    notes: tuple[str, ...] = ()
    if sample.objects is not None:
        objects = renumbered(sample)
        if objects.max(initial=0) < 255:
            data = index_png(objects.astype(np.uint8), palette=VOC_PALETTE)
            files[f"{OBJECTS}{target.stem}.png"] = data
        else:
            notes = ("more than 254 objects: no SegmentationObject written",)
    extension = posixpath.splitext(sample.key)[1] or ".jpg"
    return Written(files=files, image_path=f"JPEGImages/{target.stem}{extension}", notes=notes)


def renumbered(sample: Sample) -> ObjectMap:
    """(H, W) int32: objects numbered 1, 2, … per (class, object); 0 on background and ignore."""
    labels = sample.labels
    numbers = np.zeros(sample.size_hw, np.int32) if sample.objects is None else sample.objects
    combined = numbers.astype(np.int64) * (labels.ignore_index + 1) + sample.mask
    nothing = sample.mask == labels.ignore_index
    if labels.background_index is not None:
        nothing |= sample.mask == labels.background_index
    combined[nothing] = -1
    values, positions = distinct(combined)
    first = 1 if values[0] != -1 else 0
    dense: ObjectMap = (positions + first).astype(np.int32)
    return dense


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``labelmap.txt`` and one list per split (``default`` without splits)."""
    with out.open(LABELMAP) as stream:
        stream.write(labelmap_to_text(context.labels).encode())
    write_lists(samples, out)


def write_lists(samples: FinishedSamples, out: OutputFolder) -> None:
    """``ImageSets/Segmentation/<split>.txt`` with names without extension."""
    for split, chosen in samples.by_split("default"):
        with out.open(f"{LISTS}{split}.txt") as stream:
            stream.writelines(f"{sample.stem}\n".encode() for sample in chosen)


def _prefix(tree: FileTree) -> str:
    """What stands before SegmentationClass: '' or for example 'VOCdevkit/VOC2012/'."""
    for name in tree.names():
        before, found, _ = name.partition(CLASSES)
        if found and (not before or before.endswith("/")):
            return before
    return ""


def _id_of(name: str, prefix: str) -> str | None:
    start = prefix + CLASSES
    return posixpath.splitext(name[len(start) :])[0] if name.startswith(start) else None


def _splits(tree: FileTree, prefix: str) -> dict[str, str]:
    """Split by id. Of several lists the most special wins: train and val before trainval."""
    start = prefix + LISTS
    lists = [name for name in tree.names() if name.startswith(start) and name.endswith(".txt")]
    found: dict[str, str] = {}
    for name in sorted(lists, key=lambda name: (len(name), name)):
        split = name[len(start) :].removesuffix(".txt")
        for line in text_lines(tree.read(name), name):
            found.setdefault(line.strip(), "" if split == "default" else split)
    return found


def _labels(tree: FileTree, prefix: str, options: ReadOptions) -> LabelMap:
    if prefix + LABELMAP in tree.names():
        return read_labels(tree, prefix + LABELMAP, kind="labelmap")
    return class_list(tree, prefix) or options.labels or builtin("voc")


def _guesses(tree: FileTree, prefix: str, options: ReadOptions) -> tuple[str, ...]:
    """That the classes are taken for VOC's, where neither a list nor the files' names say so."""
    if options.labels is not None or class_list(tree, prefix) is not None:
        return ()
    ids = (_id_of(name, prefix) for name in tree.names())
    other = next((one for one in ids if one and not re.fullmatch(VOC_ID, one)), None)
    if other is None:
        return ()
    return (
        f"no class list lies beside the masks, and {other!r} is not called as VOC's: the classes "
        "are taken for Pascal VOC's 21; give --labels if they are others",
    )


def recognise(tree: FileTree) -> str | None:
    """A folder SegmentationClass; beside it lie masks of objects, which are no class masks."""
    start = f"{_prefix(tree)}{CLASSES}"
    names = (name for name in tree.names() if name.startswith(start))
    if not any(name.lower().endswith(MASK_EXTENSIONS) for name in names):
        return None  # labelme keeps arrays there, and the masks in SegmentationClassPNG
    is_cvat = start == CLASSES and LABELMAP in tree.tops()
    return None if is_cvat else f"a folder {start}"


VOC = DatasetFormat(
    reader=DatasetReader(index, read),
    writer=DatasetWriter(write, finish),
    recogniser=recognise,
    holds_ignore=True,
    max_classes=255,
)
