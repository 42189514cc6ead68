"""Ultralytics' semantic layout: ``images/<split>`` and ``masks/<split>`` with data.yaml.

Facts: ultralytics' semantic task. A pixel is the class id, 255 is ignore.
"""

import posixpath
from typing import Final

from maskmill.pipeline.datasets.binary_masks import refuse_binary_masks, spread
from maskmill.pipeline.datasets.class_masks import items_by_split
from maskmill.pipeline.datasets.class_masks import read_class_mask as read
from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.documents.data_yaml import (
    DEFAULT_SPLIT,
    YAML,
    data_yaml,
    read_yaml,
    split_folders,
)
from maskmill.pipeline.datasets.item_spool import ItemSpool
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
from maskmill.schemas.arrays import IGNORE_INDEX
from maskmill.schemas.errors import ErrorCode, MaskFailure

MASKS: Final = "masks/"
ENOUGH_TO_JUDGE: Final = 3
"""A mask or two may well hold the first class and ignore and nothing else."""


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """Every PNG below ``masks/``. Labels: ``names`` of data.yaml, else ``--labels``.

    Raises:
        DocumentFailure: no such folder, or a data.yaml that is none.
        SettingsError: no class names; or masks of 0 and 255, where 255 would be ignore.
    """
    listed, document = read_yaml(tree)
    labels = listed or labels_or(options.labels, "an Ultralytics folder without data.yaml")
    items = ItemSpool(items_by_split(tree, options, MASKS, "images/", split_folders(document)))
    if len(items) >= ENOUGH_TO_JUDGE:
        some = [items[place].payload["mask"] for place in spread(len(items))]
        refuse_binary_masks(tree, some, labels, options)
    return DatasetIndex(labels=labels, items=items)


def write(sample: Sample, target: Target, context: WriteContext) -> Written:
    """Index PNG with 255 = ignore.

    Raises:
        MaskFailure: more than 255 classes.
    """
    if len(sample.labels.classes) > IGNORE_INDEX:
        raise MaskFailure(ErrorCode.CANNOT_HOLD, "Ultralytics' masks hold at most 255 classes")
    split = target.split or DEFAULT_SPLIT
    extension = posixpath.splitext(sample.key)[1] or ".jpg"
    return Written(
        files={f"{MASKS}{split}/{target.stem}.png": index_png(sample.mask)},
        image_path=f"images/{split}/{target.stem}{extension}",
    )


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """data.yaml with every class, background included."""
    splits = [split for split, _ in samples.by_split(DEFAULT_SPLIT)]
    others = {"masks_dir": "masks", "names": dict(enumerate(context.labels.names))}
    with out.open(YAML) as stream:
        stream.write(data_yaml(splits, others))


def recognise(tree: FileTree) -> str | None:
    """``masks/`` and a yaml with names at the top."""
    labels = read_yaml(tree)[0] if MASKS.rstrip("/") in tree.tops() else None
    return None if labels is None else f"{MASKS} beside a yaml with names"


ULTRALYTICS_SEMANTIC = DatasetFormat(
    reader=DatasetReader(index, read),
    writer=DatasetWriter(write, finish),
    recogniser=recognise,
    holds_ignore=True,
    max_classes=255,
)
