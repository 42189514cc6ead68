"""COCO stuff: the instances document of a labelling without overlaps, and pixel maps.

Facts: cocostuffapi. One segment per class; a pixel map is a palette PNG of category ids.
"""

import posixpath
from dataclasses import replace
from typing import Final

import numpy as np

from maskmill.pipeline.datasets.class_lists import labels_of_categories, listed_classes
from maskmill.pipeline.datasets.class_masks import mask_items
from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.documents.coco_document import document_pieces
from maskmill.pipeline.datasets.documents.coco_outline import outline
from maskmill.pipeline.datasets.formats import coco
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
from maskmill.pipeline.masks.picture import index_png, open_picture
from maskmill.pipeline.masks.run_lengths import distinct
from maskmill.pipeline.masks.values import cast_to_mask, stored_values
from maskmill.schemas.errors import ErrorCode, MaskFailure
from maskmill.schemas.labels import VOID_COLOR, LabelMap, voc_color

LARGEST_ID: Final = 255
FOLDER: Final = "_pixelmaps/"


def write(sample: Sample, target: Target, context: WriteContext) -> Written:
    """One annotation per class, area as a float; a pixel map where the ids fit 8 bits."""
    plain = coco.write_rle(replace(sample, objects=None), target, context)
    record = [{**entry, "area": float(entry["area"])} for entry in plain.record]
    ids = [entry.category_id for entry in sample.labels.classes]
    if max(ids) > LARGEST_ID:
        notes = (f"no pixel map: category ids go to {max(ids)}, beyond 8 bits",)
        return replace(plain, record=record, notes=notes)
    table = np.zeros(sample.labels.ignore_index + 1, dtype=np.uint8)
    table[: len(ids)] = ids
    path = f"annotations/stuff_{target.split or 'default'}_pixelmaps/{target.stem}.png"
    data = index_png(table[sample.mask], palette=_palette(sample.labels))
    return replace(plain, record=record, files={path: data})


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``annotations/stuff_<split>.json`` per split."""
    for split, chosen in samples.by_split("default"):
        with out.open(f"annotations/stuff_{split}.json") as stream:
            categories = context.labels.coco_categories()
            for piece in document_pieces(chosen, categories, context):
                stream.write(piece)


def _palette(labels: LabelMap) -> bytes:
    colors = [voc_color(index) for index in range(256)]
    colors[255] = VOID_COLOR
    for entry in labels.classes:
        colors[entry.category_id] = entry.color
    return bytes(channel for color in colors for channel in color)


def index_pixelmaps(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """Every PNG of the ``*_pixelmaps`` folders, or of the tree where there are none.

    Labels: the categories of the first JSON that has some, else a class list, else ``--labels``.

    Raises:
        DocumentFailure: no PNG, or a broken class list.
        SettingsError: no categories.
    """
    names = [name for name in tree.names() if name.lower().endswith(".png")]
    inside = {name: name.rpartition(FOLDER)[2] for name in names if FOLDER in name}
    items = mask_items(
        tree,
        options,
        lambda name: (
            posixpath.splitext(inside.get(name, name))[0] if name in inside or not inside else None
        ),
        lambda key: f"images/{key}",
    )
    labels, notes = _categories(tree, options)
    return DatasetIndex(labels=labels, items=items, notes=notes)


def read_pixelmap(item: SampleItem, context: ReadContext) -> Sample:
    """Category ids to classes; 0 is background, 255 ignore unless a category has it.

    Raises:
        MaskFailure: not an index picture, or a value that is no category id.
    """
    name, labels = item.payload["mask"], context.labels
    ids = stored_values(open_picture(context.tree.read(name), name=name)).astype(np.int64)
    at = labels.background_index
    known = {0: labels.ignore_index if at is None else at, LARGEST_ID: labels.ignore_index}
    known |= {entry.category_id: entry.index for entry in labels.classes if not entry.is_background}
    values, places = distinct(ids)
    unknown = [value for value in values.tolist() if value not in known]
    if unknown and context.unknown == "error":
        raise MaskFailure(
            ErrorCode.UNKNOWN_VALUE,
            f"{name}: values {unknown[:10]} are no category ids of {labels.name!r}",
        )
    table = np.array([known.get(value, labels.ignore_index) for value in values.tolist()])
    notes = (f"values {unknown[:10]} read as ignore",) if unknown else ()
    mask = cast_to_mask(table[places], labels)
    image = item.payload["image"]
    return Sample(key=item.key, mask=mask, labels=labels, image=image, notes=notes)


def _categories(tree: FileTree, options: ReadOptions) -> tuple[LabelMap, tuple[str, ...]]:
    """The classes, and which of them a value means where a plain list leaves that open."""
    for name in tree.names():
        categories = outline(tree, name).categories if name.endswith(".json") else []
        if categories:
            return labels_of_categories(categories, "coco stuff"), ()
    listed = listed_classes(tree)
    labels, name = (listed.labels, listed.file) if listed else (options.labels, "--labels")
    labels = labels_or(labels, "a folder of pixel maps without a COCO JSON or class list")
    first = labels.classes[0]
    told = f"{name}: value {first.category_id} is read as {first.name!r}, for COCO counts from 1"
    return labels, () if first.is_background else (told,)


def recognise_pixelmaps(tree: FileTree) -> str | None:
    """PNGs in a folder of pixel maps, and no document that would say more."""
    names = tree.names()
    if any(name.lower().endswith(".json") for name in names):
        return None
    found = any(FOLDER in name and name.lower().endswith(".png") for name in names)
    return f"PNGs in a folder …{FOLDER} without a COCO document" if found else None


COCO_STUFF = DatasetFormat(
    reader=coco.READER,
    writer=DatasetWriter(write, finish),
    checker=coco.PYCOCOTOOLS_READER,
    checker_name="pycocotools",
)
PIXELMAPS = DatasetFormat(
    reader=DatasetReader(index_pixelmaps, read_pixelmap),
    recogniser=recognise_pixelmaps,
    max_classes=256,
)
