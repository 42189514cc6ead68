"""CamVid: pictures in ``<subset>/``, masks in ``<subset>annot/``, colours in label_colors.txt.

Facts: CVAT's format-camvid.md, datumaro's camvid_format.py; SegNet's tutorial, whose CamVid has no
list of classes: eleven, and value 11 for what is unlabelled.
"""

import posixpath
import re
from dataclasses import replace
from typing import Final

import numpy as np

from maskmill.pipeline.datasets.backgrounds import labels_with_first_background, without_ignore
from maskmill.pipeline.datasets.class_lists import class_list, read_labels
from maskmill.pipeline.datasets.class_masks import (
    is_colored,
    mask_items,
    palette_png,
    read_class_mask,
)
from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.documents.label_colors import labels_to_text
from maskmill.pipeline.datasets.documents.labelmap_txt import importable_colors
from maskmill.pipeline.datasets.item_spool import ItemSpool
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
from maskmill.pipeline.masks.picture import open_picture
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.labels import LabelClass, LabelMap, builtin

COLORS: Final = "label_colors.txt"
DEFAULT_SUBSET: Final = "default"
CAMVID_FRAME: Final = r"(?:0001TP|0006R0|0016E5|Seq05VD)_\w+?"
"""What CamVid calls its frames: without a class list, masks so called are CamVid's."""
SEGNET: Final = "camvid11"
UNLABELLED: Final = 11
"""What SegNet's masks hold where no class is; with us that is ignore."""


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """Every mask of the ``*annot`` folders.

    Labels: label_colors.txt or another class list, ``--labels``, CamVid's own where masks are
    called as its frames and in colours, or SegNet's grey values.

    Raises:
        DocumentFailure: no such folder, or a broken label_colors.txt.
        SettingsError: other masks, and nothing names their classes.
    """
    subsets = _subsets(tree)
    if not subsets:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{tree.uri} holds no folder whose name ends in 'annot'"
        )
    items = ItemSpool(item for subset in subsets for item in _subset_items(tree, options, subset))
    mask = items[0].payload["mask"]
    if options.labels in (None, builtin(SEGNET)) and _is_segnet(tree, mask):
        note = f"SegNet's CamVid: {SEGNET}'s classes, value {UNLABELLED} is ignore"
        return DatasetIndex(
            labels=builtin(SEGNET), items=items, extras={"segnet": True}, notes=(note,)
        )
    return DatasetIndex(labels=_labels(tree, options, mask), items=items)


def read(item: SampleItem, context: ReadContext) -> Sample:
    """The mask of an item; what SegNet's masks leave unlabelled becomes ignore.

    Raises:
        MaskFailure: not a mask of the label map.
    """
    if "segnet" not in context.extras:
        return read_class_mask(item, context)
    none = LabelClass(index=UNLABELLED, name="Unlabelled", color=(0, 0, 0), category_id=12)
    wide = replace(context.labels, classes=(*context.labels.classes, none))
    sample = read_class_mask(item, replace(context, labels=wide))
    mask = sample.mask.copy()
    mask[mask == UNLABELLED] = context.labels.ignore_index
    return replace(sample, mask=mask, labels=context.labels)


def write(sample: Sample, target: Target, context: WriteContext) -> Written:
    """The mask as a palette PNG in the label map's colours; ignore becomes background.

    Raises:
        MaskFailure: more than 255 classes.
    """
    plain, notes = without_ignore(sample)
    subset = target.split or DEFAULT_SUBSET
    extension = posixpath.splitext(sample.key)[1] or ".png"
    mask_path = f"{subset}annot/{target.stem}.png"
    image_path = f"{subset}/{target.stem}{extension}"
    return Written(
        files={mask_path: palette_png(plain.mask, importable_colors(plain.labels))},
        record=[image_path, mask_path],
        image_path=image_path,
        notes=notes,
    )


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``label_colors.txt`` and ``<subset>.txt`` with the pairs."""
    with out.open(COLORS) as stream:
        stream.write(labels_to_text(_written_labels(context.labels)).encode())
    for subset, chosen in samples.by_split(DEFAULT_SUBSET):
        with out.open(f"{subset}.txt") as stream:
            stream.writelines(_pair_line(*sample.record).encode() for sample in chosen)


def _pair_line(image_path: str, mask_path: str) -> str:
    """The two paths, in quotes where a blank would split one."""
    if " " in image_path or " " in mask_path:
        return f'"/{image_path}" "/{mask_path}"\n'
    return f"/{image_path} /{mask_path}\n"


def _written_labels(labels: LabelMap) -> LabelMap:
    return importable_colors(labels_with_first_background(labels))


def _subsets(tree: FileTree) -> list[str]:
    """What stands before ``annot`` in the names of folders."""
    folders = {name.split("/", 1)[0] for name in tree.names() if "/" in name}
    return sorted(folder.removesuffix("annot") for folder in folders if folder.endswith("annot"))


def _subset_items(tree: FileTree, options: ReadOptions, subset: str) -> ItemSpool:
    start = f"{subset}annot/"
    keys = {
        name: posixpath.splitext(name[len(start) :])[0]
        for name in tree.names()
        if name.startswith(start)
    }
    split = "" if subset == DEFAULT_SUBSET else subset
    return mask_items(
        tree, options, keys.get, lambda key: f"{subset}/{key}", dict.fromkeys(keys.values(), split)
    )


def _is_segnet(tree: FileTree, mask: str) -> bool:
    """True where no file names the classes and a mask has SegNet's name, mode and values."""
    if re.search(rf"/{CAMVID_FRAME}\.png$", mask) is None or mask.endswith("_L.png"):
        return False
    if COLORS in tree.names() or class_list(tree) is not None:
        return False
    picture = open_picture(tree.read(mask), name=mask).image
    return picture.mode == "L" and int(np.asarray(picture).max()) <= UNLABELLED


def _labels(tree: FileTree, options: ReadOptions, mask: str) -> LabelMap:
    if COLORS in tree.names():
        return read_labels(tree, COLORS, kind="label_colors")
    listed = class_list(tree)
    if listed is not None:
        return listed
    is_frame = re.search(rf"/{CAMVID_FRAME}(?:_L)?\.\w+$", mask) is not None
    if options.labels is None and is_frame and is_colored(tree.read(mask), mask):
        return builtin("camvid")
    return labels_or(options.labels, "a CamVid folder without label_colors.txt")


def recognise(tree: FileTree) -> str | None:
    """Folders ``…annot`` beside ``label_colors.txt``, or beside pictures called as their masks."""
    subsets = _subsets(tree)
    if subsets and COLORS in tree.tops():
        return f"{COLORS} beside folders …annot"
    if not subsets:
        return None
    stems = {posixpath.splitext(name)[0] for name in tree.names()}
    for subset in subsets:
        start = f"{subset}annot/"
        masks = (stem.removeprefix(start) for stem in stems if stem.startswith(start))
        if any(f"{subset}/{mask}" in stems for mask in masks):
            return f"{subset}/ beside {start}, with files of the same names"
    return None


CAMVID = DatasetFormat(
    reader=DatasetReader(index, read),
    writer=DatasetWriter(write, finish),
    recogniser=recognise,
    max_classes=254,
)
