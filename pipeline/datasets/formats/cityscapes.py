"""Cityscapes: labelIds, trainIds and colour masks in gtFine's layout.

Facts: cityscapesScripts' labels.py. In labelIds 0 is unlabeled; in trainIds 255 is ignore;
instanceIds are id * 1000 + n, or the id alone.
"""

import posixpath
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
from PIL import Image

from maskmill.pipeline.datasets.class_lists import class_list, read_labels
from maskmill.pipeline.datasets.class_mapping import ClassMapping, map_mask
from maskmill.pipeline.datasets.class_masks import mask_items, read_class_mask
from maskmill.pipeline.datasets.dataset_format import DatasetFormat, Recogniser
from maskmill.pipeline.datasets.documents.label_colors import labels_to_text
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
from maskmill.pipeline.masks.color import mask_to_colors
from maskmill.pipeline.masks.picture import index_png, open_picture, png_bytes
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.errors import DocumentFailure, ErrorCode, MaskFailure
from maskmill.schemas.labels import LabelMap, builtin

TRUTH: Final = "gtFine/"
PICTURES: Final = "leftImg8bit/"
PICTURE_SUFFIX: Final = "_leftImg8bit"
COLORS: Final = "label_colors.txt"
DEFAULT_SPLIT: Final = "train"
NO_CITY: Final = "default/"
KINDS: Final = {
    "labelIds": "cityscapes_labelids",
    "labelTrainIds": "cityscapes",
    "color": "cityscapes",
}


def index(tree: FileTree, options: ReadOptions, kind: str) -> DatasetIndex:
    """Every ``*_gtFine_<kind>.png`` below ``gtFine/``.

    Labels: label_colors.txt (own classes) or another class list, ``--labels``, Cityscapes' own.

    Raises:
        DocumentFailure: no such file.
    """
    suffix = f"_gtFine_{kind}.png"
    start = next((name[: name.index(TRUTH)] for name in tree.names() if TRUTH in name), "") + TRUTH
    keys = {
        name: name[len(start) :].removesuffix(suffix)
        for name in tree.names()
        if name.startswith(start) and name.endswith(suffix)
    }
    if not keys:
        raise _no_masks(tree, kind)
    splits = {key: key.split("/", 1)[0] for key in keys.values()}
    found = mask_items(
        tree,
        options,
        keys.get,
        lambda key: f"{start.removesuffix(TRUTH)}{PICTURES}{key}{PICTURE_SUFFIX}",
        splits,
    )
    items = (
        SampleItem(
            key=item.key.removeprefix(f"{item.split}/").removeprefix(NO_CITY),
            split="" if item.split == DEFAULT_SPLIT else item.split,
            payload=item.payload,
        )
        for item in found
    )
    return DatasetIndex(labels=_labels(tree, kind, options), items=items)


def _no_masks(tree: FileTree, kind: str) -> DocumentFailure:
    """What of Cityscapes is there instead of the masks of one kind."""
    others = [
        f"*_gtFine_{other}.png"
        for other in (*KINDS, "instanceIds")
        if any(name.endswith(f"_gtFine_{other}.png") for name in tree.names())
    ]
    there = f" but {', '.join(others)}" if others else ""
    only_objects = others == ["*_gtFine_instanceIds.png"]
    remedy = "; instanceIds are id * 1000 + object, no classes" if only_objects else ""
    return DocumentFailure(
        ErrorCode.MALFORMED,
        f"{tree.uri} holds no {TRUTH}…_gtFine_{kind}.png{there}{remedy}",
    )


def read(item: SampleItem, context: ReadContext) -> Sample:
    """The class mask, with the objects of instanceIds where they are."""
    sample = read_class_mask(item, context)
    name = item.payload["mask"].rpartition("_gtFine_")[0] + "_gtFine_instanceIds.png"
    if not context.tree.has(name):
        return sample
    values = np.asarray(open_picture(context.tree.read(name), name=name).image).astype(np.int32)
    objects = np.where(values >= 1000, values, 0)
    if objects.shape != sample.mask.shape or not objects.any():
        return sample
    return replace(sample, objects=objects)


def write(sample: Sample, target: Target, context: WriteContext) -> Written:
    """labelIds, instanceIds and, for Cityscapes' own classes, labelTrainIds and colour.

    Raises:
        MaskFailure: more than 255 classes.
    """
    labels = sample.labels
    if len(labels.classes) > 255:
        raise MaskFailure(ErrorCode.CANNOT_HOLD, "Cityscapes masks hold at most 255 classes")
    path = f"{TRUTH}{target.split or DEFAULT_SPLIT}/{_city_path(target.stem)}_gtFine_"
    ids = label_ids(sample)
    files = {
        f"{path}labelIds.png": index_png(ids),
        f"{path}instanceIds.png": index_png(_instance_ids(ids, sample)),
    }
    if has_cityscapes_names(labels):
        train = builtin("cityscapes")
        mask = map_mask(sample.mask, labels, _to_train_ids(labels, train))
        files[f"{path}labelTrainIds.png"] = index_png(mask)
        files[f"{path}color.png"] = png_bytes(Image.fromarray(mask_to_colors(mask, train)))
    extension = posixpath.splitext(sample.key)[1] or ".png"
    folder = f"{PICTURES}{target.split or DEFAULT_SPLIT}/"
    return Written(
        files=files,
        image_path=f"{folder}{_city_path(target.stem)}{PICTURE_SUFFIX}{extension}",
    )


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``label_colors.txt`` where the classes are not Cityscapes' own."""
    if not has_cityscapes_names(context.labels):
        with out.open(COLORS) as stream:
            stream.write(labels_to_text(context.labels).encode())


def has_cityscapes_names(labels: LabelMap) -> bool:
    """True where every class but background is one of Cityscapes' 34."""
    known = set(builtin("cityscapes_labelids").names)
    return all(entry.name in known or entry.is_background for entry in labels.classes)


def label_ids(sample: Sample) -> LabelMask:
    """(H, W) uint8: Cityscapes' ids for its own classes, else the class index.

    Without a background class, ignore is 0 (unlabeled), as in Cityscapes.
    """
    labels = sample.labels
    if not has_cityscapes_names(labels):
        return sample.mask
    target = builtin("cityscapes_labelids")
    mapping = ClassMapping(
        source=labels,
        target=target,
        targets=tuple(
            0 if entry.is_background else target.index_of(entry.name) for entry in labels.classes
        ),
    )
    ids = map_mask(sample.mask, labels, mapping)
    if labels.background_index is None:
        ids = np.where(ids == target.ignore_index, ids.dtype.type(0), ids)
    return ids


def _instance_ids(ids: LabelMask, sample: Sample) -> LabelMask:
    """id * 1000 + n for numbered objects, the id alone elsewhere."""
    values = ids.astype(np.int64)
    if sample.objects is not None:
        for value in np.unique(ids[sample.objects > 0]).tolist():
            inside = (ids == value) & (sample.objects > 0)
            numbers = np.unique(sample.objects[inside], return_inverse=True)[1]
            if value * 1000 + int(numbers.max()) <= 65535:
                values[inside] = value * 1000 + numbers
    return values.astype(np.uint16)


def _to_train_ids(labels: LabelMap, train: LabelMap) -> ClassMapping:
    known = {entry.name: entry.index for entry in train.classes}
    return ClassMapping(
        source=labels,
        target=train,
        targets=tuple(known.get(entry.name, train.ignore_index) for entry in labels.classes),
    )


def _city_path(stem: str) -> str:
    """A stem with a city folder in front, which the layout asks for."""
    plain = stem.removesuffix(PICTURE_SUFFIX)
    return plain if "/" in plain else f"{NO_CITY}{plain}"


def _labels(tree: FileTree, kind: str, options: ReadOptions) -> LabelMap:
    if COLORS in tree.names():
        return read_labels(tree, COLORS, kind="label_colors")
    return class_list(tree) or options.labels or builtin(KINDS[kind])


def _recogniser_of(kind: str, *others: str) -> Recogniser:
    """Knows ``gtFine/`` by files of ``kind``, where it holds none of ``others``."""

    def recognise(tree: FileTree) -> str | None:
        inside = [name for name in tree.names() if f"/{TRUTH}" in f"/{name}"]
        if any(name.endswith(f"_gtFine_{other}.png") for other in others for name in inside):
            return None
        found = any(name.endswith(f"_gtFine_{kind}.png") for name in inside)
        return f"{TRUTH} with *_gtFine_{kind}.png" if found else None

    return recognise


def _format_of(kind: str, *others: str, writer: DatasetWriter | None = None) -> DatasetFormat:
    return DatasetFormat(
        reader=DatasetReader(partial(index, kind=kind), read),
        writer=writer,
        recogniser=_recogniser_of(kind, *others),
        holds_ignore=True,
        max_classes=255,
    )


CITYSCAPES = _format_of("labelIds", writer=DatasetWriter(write, finish))
TRAIN_IDS = _format_of("labelTrainIds", "labelIds")
COLOR = _format_of("color", "labelIds", "labelTrainIds")
