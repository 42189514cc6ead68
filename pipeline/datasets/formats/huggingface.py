"""Hugging Face datasets: an imagefolder with metadata.jsonl, or Parquet with embedded pictures.

Facts: datasets 5.2.0. ``*_file_name`` columns become image columns; in Parquet an image is
``struct<bytes, path>`` and the schema metadata ``huggingface`` names the features. Class names
are in ``id2label.json``, index -> name.
"""

import io
import json
import posixpath
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from maskmill.pipeline.datasets.class_masks import decode_mask, read_class_mask
from maskmill.pipeline.datasets.guards import document_reader
from maskmill.pipeline.datasets.item_spool import ItemSpool
from maskmill.pipeline.datasets.samples import (
    DatasetIndex,
    DatasetWriter,
    FinishedSample,
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
from maskmill.pipeline.datasets.vocabulary import (
    labels_in_order,
    labels_or,
    parse_json,
    text_lines,
    to_json,
)
from maskmill.pipeline.masks.picture import index_png
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.labels import LabelMap

NAMES: Final = "id2label.json"
METADATA: Final = "metadata.jsonl"
PARTS: Final = "parts/"
DEFAULT_SPLIT: Final = "train"
ROWS_PER_GROUP: Final = 32
ROWS_PER_FILE: Final = 2048
IMAGE: Final = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
FEATURES: Final = {
    "image": {"_type": "Image"},
    "mask": {"_type": "Image"},
    "file_name": {"dtype": "string", "_type": "Value"},
}
SCHEMA: Final = pa.schema(
    [pa.field("image", IMAGE), pa.field("mask", IMAGE), pa.field("file_name", pa.string())],
    metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
)


def index_folder(tree: FileTree, options: ReadOptions) -> DatasetIndex:
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
    return _index(tree, options, items)


def write_folder(sample: Sample, target: Target, context: WriteContext) -> Written:
    """Index PNG beside the picture, and the line that pairs them."""
    split = target.split or DEFAULT_SPLIT
    extension = posixpath.splitext(sample.key)[1] or ".jpg"
    image, mask = f"images/{target.stem}{extension}", f"masks/{target.stem}.png"
    return Written(
        files={f"{split}/{mask}": index_png(sample.mask)},
        record={"file_name": image, "mask_file_name": mask, "key": sample.key},
        image_path=f"{split}/{image}",
    )


def finish_folder(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``<split>/metadata.jsonl`` and id2label.json."""
    for split, chosen in samples.by_split(DEFAULT_SPLIT):
        with out.open(f"{split}/{METADATA}") as stream:
            stream.writelines(to_json(sample.record) + b"\n" for sample in chosen)
    _write_names(context.labels, out)


def index_parquet(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """Every row of every Parquet file with a ``mask`` column.

    Raises:
        DocumentFailure: no such file, or an unreadable one.
        SettingsError: no class names.
    """
    items = ItemSpool(
        item
        for name in tree.names()
        if name.endswith(".parquet")
        for item in _parquet_items(tree, name)
    )
    if not items:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{tree.uri} holds no Parquet with masks")
    return _index(tree, options, items)


def read_parquet(item: SampleItem, context: ReadContext) -> Sample:
    """The mask of one row; only its row group is decoded."""
    name, group, row = item.payload
    table = _open(context.tree, name).read_row_group(group, columns=["mask"])
    data = table["mask"][row].as_py()["bytes"]
    mask, what = decode_mask(data, context, item.key)
    return Sample(key=item.key, mask=mask, labels=context.labels, notes=(what,))


def write_parquet(sample: Sample, target: Target, context: WriteContext) -> Written:
    """The mask, kept aside until the Parquet files are built."""
    extension = posixpath.splitext(sample.key)[1] or ".jpg"
    mask, image = f"{PARTS}masks/{target.stem}.png", f"{PARTS}images/{target.stem}{extension}"
    has_image = sample.image is not None
    return Written(
        files={mask: index_png(sample.mask)},
        record={"mask": mask, "image": image if has_image else None, "key": sample.key},
        image_path=image if has_image else None,
        notes=() if has_image else ("no picture: the row's image is null",),
    )


def finish_parquet(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``data/<split>-00000-of-0000N.parquet`` and id2label.json."""
    for split, chosen in samples.by_split(DEFAULT_SPLIT):
        for name, part in chosen.shards(f"data/{split}", ".parquet", ROWS_PER_FILE):
            with out.open(name) as stream, pq.ParquetWriter(stream, SCHEMA) as writer:
                while group := list(islice(part, ROWS_PER_GROUP)):
                    writer.write_table(_rows(group, out))
    _write_names(context.labels, out)


def _rows(samples: Sequence[FinishedSample], out: OutputFolder) -> pa.Table:
    rows = [
        {
            "image": _cell(sample.record["image"], sample.key, out),
            "mask": _cell(sample.record["mask"], f"{sample.stem}.png", out),
            "file_name": sample.key,
        }
        for sample in samples
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _cell(path: str | None, name: str, out: OutputFolder) -> dict[str, Any] | None:
    return None if path is None else {"bytes": out.read(path), "path": name}


def _index(tree: FileTree, options: ReadOptions, items: ItemSpool) -> DatasetIndex:
    """Where we named the classes 255 is ignore; masks of others may be 0 and 255."""
    extras = {"binary": NAMES not in tree.names()}
    return DatasetIndex(labels=_labels(tree, options), items=items, extras=extras)


def _folder_items(tree: FileTree, name: str) -> Iterator[SampleItem]:
    folder = name.removesuffix(METADATA)
    split = folder.strip("/")
    names = frozenset(tree.names())
    for line in text_lines(tree.read(name), name):
        entry = parse_json(line.encode(), name)
        if not isinstance(entry, dict) or "mask_file_name" not in entry or "file_name" not in entry:
            raise DocumentFailure(
                ErrorCode.MALFORMED, f"{name}: a line lacks file_name or mask_file_name"
            )
        image = folder + str(entry["file_name"])
        yield SampleItem(
            key=str(entry.get("key") or str(entry["file_name"]).removeprefix("images/")),
            split="" if split in ("", DEFAULT_SPLIT) else split,
            payload={
                "mask": folder + str(entry["mask_file_name"]),
                "image": image if image in names else None,
            },
        )


def _parquet_items(tree: FileTree, name: str) -> Iterator[SampleItem]:
    file = _open(tree, name)
    if "mask" not in file.schema_arrow.names:
        return
    split = posixpath.basename(name).split("-", 1)[0]
    has_names = "file_name" in file.schema_arrow.names
    for group in range(file.num_row_groups):
        if has_names:
            keys = file.read_row_group(group, columns=["file_name"])["file_name"].to_pylist()
        else:
            rows = file.metadata.row_group(group).num_rows
            keys = [f"{posixpath.splitext(name)[0]}/{group}-{row}" for row in range(rows)]
        for row, key in enumerate(keys):
            yield SampleItem(
                key=key, split="" if split == DEFAULT_SPLIT else split, payload=[name, group, row]
            )


def _open(tree: FileTree, name: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(io.BytesIO(tree.read(name)))
    except (pa.ArrowException, OSError) as error:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name} is no Parquet: {error}") from error


def _labels(tree: FileTree, options: ReadOptions) -> LabelMap:
    if NAMES not in tree.names():
        return labels_or(options.labels, "a Hugging Face dataset without id2label.json")
    document = parse_json(tree.read(NAMES), NAMES)
    try:
        names = [str(document[key]) for key in sorted(document, key=int)]
    except (TypeError, ValueError) as error:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{NAMES}: {error!r}") from error
    return labels_in_order("huggingface", names)


def _write_names(labels: LabelMap, out: OutputFolder) -> None:
    with out.open(NAMES) as stream:
        stream.write(to_json({str(entry.index): entry.name for entry in labels.classes}))


FOLDER_READER = document_reader(index_folder, read_class_mask)
FOLDER_WRITER = DatasetWriter(write_folder, finish_folder)
PARQUET_READER = document_reader(index_parquet, read_parquet)
PARQUET_WRITER = DatasetWriter(write_parquet, finish_parquet)
