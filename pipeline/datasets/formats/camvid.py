"""CamVid: pictures in ``<subset>/``, masks in ``<subset>annot/``, colours in label_colors.txt.

Facts: CVAT's format-camvid.md, datumaro's camvid_format.py.
"""

import posixpath
import re
from typing import Final

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
    ReadOptions,
    Sample,
    Target,
    WriteContext,
    Written,
)
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.datasets.vocabulary import labels_or
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.labels import LabelMap, builtin

COLORS: Final = "label_colors.txt"
DEFAULT_SUBSET: Final = "default"
CAMVID_FRAME: Final = r"(?:0001TP|0006R0|0016E5|Seq05VD)_\w+?"
"""What CamVid calls its frames: without a class list, masks so called are CamVid's."""


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """Every mask of the ``*annot`` folders.

    Labels: label_colors.txt or another class list, ``--labels``, CamVid's own where masks are in
    colours and called as its frames.

    Raises:
        DocumentFailure: no such folder, or a broken label_colors.txt.
        SettingsError: other masks, and nothing names their classes.
    """
    subsets = sorted(
        {
            name.split("/", 1)[0].removesuffix("annot")
            for name in tree.names()
            if name.split("/", 1)[0].endswith("annot") and "/" in name
        }
    )
    if not subsets:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{tree.uri} holds no folder whose name ends in 'annot'"
        )
    items = ItemSpool(item for subset in subsets for item in _subset_items(tree, options, subset))
    return DatasetIndex(labels=_labels(tree, options, items[0].payload["mask"]), items=items)


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
    """``label_colors.txt`` beside folders that end in ``annot``."""
    folders = {name.split("/", 1)[0] for name in tree.names() if "/" in name}
    has_masks = any(folder.endswith("annot") for folder in folders)
    return f"{COLORS} beside folders …annot" if has_masks and COLORS in tree.tops() else None


CAMVID = DatasetFormat(
    reader=DatasetReader(index, read_class_mask),
    writer=DatasetWriter(write, finish),
    recogniser=recognise,
    max_classes=254,
)
