"""A finished run of ours: masks and rows of the OUT of ``maskmill prelabel`` or ``pull`` (read)."""

import io
from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from maskmill.pipeline.datasets.class_masks import decode_mask
from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.guards import document_reader
from maskmill.pipeline.datasets.samples import (
    DatasetIndex,
    ReadContext,
    ReadOptions,
    Sample,
    SampleItem,
)
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.models.choice import model_version
from maskmill.pipeline.runs.layout import shard_of, stretch_of
from maskmill.schemas.errors import DocumentFailure, ErrorCode, SettingsError
from maskmill.schemas.json_text import parse_json
from maskmill.schemas.labels import LabelMap

RECORD: Final = "run.json"
ROWS: Final = "metadata/"
COLUMNS: Final = ["key", "uri", "status", "mask_path", "classes"]


def index(tree: FileTree, options: ReadOptions) -> DatasetIndex:
    """The ok rows of a run; its label map is that of run.json, and so is who made the masks.

    Raises:
        DocumentFailure: no run.json, or one without a label map.
        SettingsError: the run is not finished.
    """
    try:
        record = parse_json(tree.read(RECORD), RECORD)
        labels = LabelMap.from_dict(record["label_map"])
        state = record["state"]
    except (KeyError, TypeError, ValueError) as error:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{tree.uri}/{RECORD} is no run record: {error!r}"
        ) from error
    if state != "finished":
        raise SettingsError(
            f"{tree.uri} is not finished; repeat its {record.get('command')} command first"
        )
    model = record.get("model") or {}
    version = model_version(str(model.get("name", "unknown")), model.get("weights_sha256"))
    return DatasetIndex(labels=labels, items=_items(tree), extras={"model": version})


def read(item: SampleItem, context: ReadContext) -> Sample:
    """The mask, with the mean confidence of each class as its score."""
    name = item.payload["mask"]
    mask, _, left_out = decode_mask(_mask_bytes(context.tree, name), context, name)
    scores = {int(number): float(score) for number, score in item.payload["scores"]}
    return Sample(
        key=item.key,
        mask=mask,
        labels=context.labels,
        image=item.payload["image"],
        scores=scores,
        left_out=left_out,
    )


def _mask_bytes(tree: FileTree, name: str) -> bytes:
    """The mask's file, in a shard or by itself."""
    shard = shard_of(name)
    if shard is None:
        return tree.read(name)
    stretch = stretch_of(name)
    return tree.read_range(shard, stretch.offset, stretch.length)


def _items(tree: FileTree) -> Iterator[SampleItem]:
    for name in tree.names():
        if not name.startswith(ROWS) or not name.endswith(".parquet"):
            continue
        try:
            table = pq.read_table(io.BytesIO(tree.read(name)), columns=COLUMNS)
        except (pa.ArrowException, OSError) as error:
            raise DocumentFailure(
                ErrorCode.MALFORMED, f"{name} is no row file of a run: {error}"
            ) from error
        for row in table.to_pylist():
            if row["status"] == "ok":
                yield SampleItem(key=row["key"], payload=_payload(row))


def _payload(row: dict[str, Any]) -> dict[str, Any]:
    scores = [
        [entry["index"], entry["mean_confidence"]]
        for entry in row["classes"] or []
        if entry["mean_confidence"] is not None
    ]
    return {"mask": row["mask_path"], "image": row["uri"], "scores": scores}


def recognise(tree: FileTree) -> str | None:
    """``run.json`` with a label map, beside rows."""
    if not tree.tops() >= {RECORD, ROWS.rstrip("/")}:
        return None
    return f"{RECORD} of a prelabel run" if b'"label_map"' in tree.read(RECORD) else None


PRELABEL = DatasetFormat(
    reader=document_reader(index, read), recogniser=recognise, holds_ignore=True
)
