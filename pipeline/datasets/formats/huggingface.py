"""Hugging Face imagefolder: ``metadata.jsonl`` pairs pictures and masks.

Facts: datasets 5.2.0. ``*_file_name`` columns become image columns. Class names are in
``id2label.json``, index -> name.
"""

import posixpath
from collections.abc import Iterator
from typing import Any, Final

from maskmill.pipeline.datasets.class_lists import read_labels
from maskmill.pipeline.datasets.class_masks import read_class_mask
from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.documents.heads import heads
from maskmill.pipeline.datasets.guards import document_reader, refused_item
from maskmill.pipeline.datasets.item_spool import ItemSpool
from maskmill.pipeline.datasets.samples import (
    DatasetIndex,
    DatasetWriter,
    FinishedSamples,
    OutputFolder,
    ReadOptions,
    Sample,
    SampleItem,
    Target,
    WriteContext,
    Written,
)
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.datasets.vocabulary import (
    labels_or,
    text_lines,
    to_json,
)
from maskmill.pipeline.masks.picture import index_png
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.json_text import parse_json
from maskmill.schemas.labels import LabelMap

NAMES: Final = "id2label.json"
METADATA: Final = "metadata.jsonl"
DEFAULT_SPLIT: Final = "train"


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """The lines of every metadata.jsonl that name a picture and a mask.

    Raises:
        DocumentFailure: no such line.
        SettingsError: no class names.
    """
    items = ItemSpool(
        item
        for name in tree.names()
        if name.rpartition("/")[2] == METADATA
        for item in _folder_items(tree, name)
    )
    if not items:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{tree.uri} holds no {METADATA} with masks")
    return named_index(tree, options, items)


def write(sample: Sample, target: Target, context: WriteContext) -> Written:
    """Index PNG beside the picture, and the line that pairs them."""
    split = target.split or DEFAULT_SPLIT
    extension = posixpath.splitext(sample.key)[1] or ".jpg"
    image, mask = f"images/{target.stem}{extension}", f"masks/{target.stem}.png"
    return Written(
        files={f"{split}/{mask}": index_png(sample.mask)},
        record={"file_name": image, "mask_file_name": mask, "key": sample.key},
        image_path=f"{split}/{image}",
    )


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``<split>/metadata.jsonl`` and id2label.json."""
    for split, chosen in samples.by_split(DEFAULT_SPLIT):
        with out.open(f"{split}/{METADATA}") as stream:
            stream.writelines(to_json(sample.record) + b"\n" for sample in chosen)
    write_names(context.labels, out)


def named_index(tree: FileTree, options: ReadOptions, items: ItemSpool) -> DatasetIndex:
    """Where we named the classes 255 is ignore; masks of others may be 0 and 255."""
    extras = {"binary": NAMES not in tree.names()}
    return DatasetIndex(labels=_labels(tree, options), items=items, extras=extras)


def write_names(labels: LabelMap, out: OutputFolder) -> None:
    """``id2label.json``."""
    with out.open(NAMES) as stream:
        stream.write(to_json({str(entry.index): entry.name for entry in labels.classes}))


def _folder_items(tree: FileTree, name: str) -> Iterator[SampleItem]:
    folder = name.removesuffix(METADATA)
    split = folder.strip("/")
    names = frozenset(tree.names())
    for number, line in enumerate(text_lines(tree.read(name), name), 1):
        try:
            entry = _entry(line, f"{name}, line {number}")
        except DocumentFailure as failure:
            yield refused_item(f"{name}, line {number}", failure)
            continue
        image = folder + str(entry["file_name"])
        yield SampleItem(
            key=str(entry.get("key") or str(entry["file_name"]).removeprefix("images/")),
            split="" if split in ("", DEFAULT_SPLIT) else split,
            payload={
                "mask": folder + str(entry["mask_file_name"]),
                "image": image if image in names else None,
            },
        )


def _entry(line: str, name: str) -> dict[str, Any]:
    entry = parse_json(line.encode(), name)
    if not isinstance(entry, dict) or "mask_file_name" not in entry or "file_name" not in entry:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name} lacks file_name or mask_file_name")
    return entry


def _labels(tree: FileTree, options: ReadOptions) -> LabelMap:
    if NAMES in tree.names():
        return read_labels(tree, NAMES, kind="json")
    return labels_or(options.labels, "a Hugging Face dataset without id2label.json")


def recognise(tree: FileTree) -> str | None:
    """A ``metadata.jsonl`` that names masks."""
    for name, head in heads(tree, METADATA):
        if '"mask_file_name"' in head:
            return f"{name} names a mask for each picture"
    return None


FOLDER = DatasetFormat(
    reader=document_reader(index, read_class_mask),
    writer=DatasetWriter(write, finish),
    recogniser=recognise,
    holds_ignore=True,
    takes_images=True,
)
