"""Hugging Face Parquet: pictures and masks embedded in rows.

Facts: datasets 5.2.0. An image is ``struct<bytes, path>``, and the schema metadata
``huggingface`` names the features. Class names are in ``id2label.json``, index -> name.
"""

import json
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from maskmill.pipeline.datasets.class_masks import decode_mask
from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.formats.huggingface import (
    DEFAULT_SPLIT,
    NAMES,
    named_index,
    write_names,
)
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
from maskmill.pipeline.masks.picture import index_png
from maskmill.schemas.errors import DocumentFailure, ErrorCode

PARTS: Final = "parts/"
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


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
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
    return named_index(tree, options, items)


def read(item: SampleItem, context: ReadContext) -> Sample:
    """The mask of one row, and its picture where that is asked for.

    Raises:
        DocumentFailure: a row without a mask.
    """
    name, group, row = item.payload
    data = _cells(context.tree, name, group, "mask")[row].get("bytes")
    if data is None:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{item.key}: the row of {name} has no mask")
    mask, what, left_out = decode_mask(data, context, item.key)
    picture, embedded = _picture(item, context) if context.takes_pictures else (None, None)
    return Sample(
        key=item.key, mask=mask, labels=context.labels, notes=(what,), left_out=left_out,
        image=picture, embedded=embedded,
    )  # fmt: skip


def write(sample: Sample, target: Target, context: WriteContext) -> Written:
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


def finish(samples: FinishedSamples, context: WriteContext, out: OutputFolder) -> None:
    """``data/<split>-00000-of-0000N.parquet`` and id2label.json."""
    for split, chosen in samples.by_split(DEFAULT_SPLIT):
        for name, part in chosen.shards(f"data/{split}", ".parquet", ROWS_PER_FILE):
            with out.open(name) as stream, pq.ParquetWriter(stream, SCHEMA) as writer:
                while group := list(islice(part, ROWS_PER_GROUP)):
                    writer.write_table(_rows(group, out))
    write_names(context.labels, out)


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


def _parquet_items(tree: FileTree, name: str) -> Iterator[SampleItem]:
    split = posixpath.basename(name).split("-", 1)[0]
    with _opened(tree, name) as file:
        if "mask" not in file.schema_arrow.names:
            return
        for group in range(file.num_row_groups):
            for row, key in enumerate(_keys(file, name, group)):
                yield SampleItem(
                    key=key,
                    split="" if split == DEFAULT_SPLIT else split,
                    payload=[name, group, row],
                )


def _keys(file: pq.ParquetFile, name: str, group: int) -> list[str]:
    if "file_name" in file.schema_arrow.names:
        keys: list[str] = file.read_row_group(group, ["file_name"])["file_name"].to_pylist()
        return keys
    rows = file.metadata.row_group(group).num_rows
    return [f"{posixpath.splitext(name)[0]}/{group}-{row}" for row in range(rows)]


def _picture(item: SampleItem, context: ReadContext) -> tuple[str | None, bytes | None]:
    """What the row's picture is called, and its bytes; a row may name a file of its own instead."""
    name, group, row = item.payload
    cell = _cells(context.tree, name, group, "image")[row]
    told, data = cell.get("path"), cell.get("bytes")
    return (told, None) if data is None else (posixpath.basename(told or "") or item.key, data)


@lru_cache(maxsize=4)
def _cells(tree: FileTree, name: str, group: int, column: str) -> list[dict[str, Any]]:
    """The pictures of a row group's column: read once, for all samples that follow each other.

    A row without one, and every row of a file without the column, has {}.
    """
    with _opened(tree, name) as file:
        if column not in file.schema_arrow.names:
            return [{}] * file.metadata.row_group(group).num_rows
        cells = file.read_row_group(group, columns=[column])[column].to_pylist()
    return [cell or {} for cell in cells]


@contextmanager
def _opened(tree: FileTree, name: str) -> Iterator[pq.ParquetFile]:
    try:
        with tree.open(name) as stream:
            yield pq.ParquetFile(stream)
    except (pa.ArrowException, OSError) as error:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name} is no Parquet: {error}") from error


def recognise(tree: FileTree) -> str | None:
    """Parquet in ``data/`` beside the names of the classes."""
    inside = any(name.startswith("data/") and name.endswith(".parquet") for name in tree.names())
    return f"data/*.parquet beside {NAMES}" if inside and NAMES in tree.tops() else None


PARQUET = DatasetFormat(
    reader=document_reader(index, read),
    writer=DatasetWriter(write, finish),
    recogniser=recognise,
    holds_ignore=True,
    takes_images=True,
)
