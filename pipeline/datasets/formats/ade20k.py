"""ADE20K's challenge set (SceneParse150): index masks, 0 = other.

Facts: sceneparsing's README.
"""

import csv
import io
import posixpath
import re
from dataclasses import replace
from typing import Final

from maskmill.pipeline.datasets.backgrounds import labels_with_first_background
from maskmill.pipeline.datasets.class_lists import class_list
from maskmill.pipeline.datasets.class_mapping import map_mask, mapping_by_name
from maskmill.pipeline.datasets.class_masks import items_by_split
from maskmill.pipeline.datasets.class_masks import read_class_mask as read
from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.samples import (
    DatasetIndex,
    DatasetReader,
    DatasetWriter,
    FinishedSamples,
    OutputFolder,
    ReadOptions,
    Sample,
    Target,
    WriteContext,
    Written,
)
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.datasets.vocabulary import labels_or
from maskmill.pipeline.masks.picture import index_png
from maskmill.schemas.labels import LabelMap, builtin

ANNOTATIONS: Final = "annotations/"
WRITTEN_TABLE: Final = "objectInfo.csv"
OWN_NAME: Final = re.compile(r"ADE_(?:train|val|test)_\d{8}\.png")
FOLDERS: Final = {"train": "training", "val": "validation", "test": "testing"}
"""Split -> folder. Splits of other names have folders of their names."""


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """Every mask below ``annotations/``.

    Labels: objectInfo.csv or another class list beside the masks, ``--labels``, ADE20K's own where
    the files are named as its are.

    Raises:
        DocumentFailure: no such folder, or a broken table.
        SettingsError: other files than ADE20K's, and nothing names their classes.
    """
    prefix = next(
        (
            name.partition(ANNOTATIONS)[0]
            for name in tree.names()
            if f"/{ANNOTATIONS}" in f"/{name}"
        ),
        "",
    )
    names = {folder: split for split, folder in FOLDERS.items()}
    found = items_by_split(tree, options, prefix + ANNOTATIONS, f"{prefix}images/", names)
    items = (replace(item, split=names.get(item.split, "")) for item in found)
    return DatasetIndex(labels=_labels(tree, prefix, options), items=items)


def write(sample: Sample, target: Target, context: WriteContext) -> Written:
    """Index PNG of 16 bits beyond 255 classes: 0 = other, classes from 1, 255 = ignore."""
    labels = labels_with_first_background(sample.labels)
    mask = map_mask(sample.mask, sample.labels, mapping_by_name(sample.labels, labels))
    folder = FOLDERS.get(target.split, target.split)
    path = f"{folder}/{target.stem}" if folder else target.stem
    extension = posixpath.splitext(sample.key)[1] or ".jpg"
    return Written(
        files={f"{ANNOTATIONS}{path}.png": index_png(mask)}, image_path=f"images/{path}{extension}"
    )


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``objectInfo.csv`` with index and name of every class but other."""
    labels = labels_with_first_background(context.labels)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["Idx", "Name"])
    table.writerows([entry.index, entry.name] for entry in labels.classes[1:])
    with out.open(WRITTEN_TABLE) as stream:
        stream.write(text.getvalue().encode())


def _labels(tree: FileTree, prefix: str, options: ReadOptions) -> LabelMap:
    listed = class_list(tree, prefix + ANNOTATIONS)
    if listed is not None:
        return listed
    if options.labels is None and any(_is_own(name) for name in tree.names()):
        return builtin("ade20k")
    return labels_or(options.labels, "annotations/ with other file names than ADE20K's")


def _is_own(name: str) -> bool:
    return OWN_NAME.fullmatch(name.rpartition("/")[2]) is not None


def recognise(tree: FileTree) -> str | None:
    """The challenge set's own file names, or ``annotations/`` with the table that we write."""
    inside = [name for name in tree.names() if f"/{ANNOTATIONS}" in f"/{name}"]
    if any(_is_own(name) for name in inside):
        return "annotations/ holds masks named ADE_train_… or ADE_val_…"
    if inside and WRITTEN_TABLE in tree.tops():
        return f"annotations/ with {WRITTEN_TABLE}"
    return None


ADE20K = DatasetFormat(
    reader=DatasetReader(index, read),
    writer=DatasetWriter(write, finish),
    recogniser=recognise,
    holds_ignore=True,
)
