"""Committed rows -> COCO instances document, written as a stream: memory does not grow with rows.

One record per line, keys in a fixed order, no time stamps: the same rows give the same bytes.
Format facts: COCO data format page; ``iscrowd`` is 0 for every mask, because 1 means "ignore me".
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import pyarrow as pa

from maskmill.pipeline.prelabel.writers.registry import RowBatches
from maskmill.schemas.coco import CocoAnnotation, CocoImage
from maskmill.schemas.errors import RunFailed
from maskmill.schemas.labels import LabelMap

_IMAGE_COLUMNS = ["image_id", "key", "status", "width", "height"]
_SEGMENT_COLUMNS = ["image_id", "status", "width", "height", "segments"]
_ROWS_AT_ONCE = 256


def write_coco(
    rows: RowBatches,
    stream: BinaryIO,
    labels: LabelMap,
    info: Mapping[str, Any],
    *,
    first_id: int = 1,
) -> None:
    """Write the document of all ok rows, images and annotations in image_id order.

    Annotation ids count from ``first_id`` in the order (image_id, category_id, component). ``rows``
    is called twice and must give rows of ascending image_id each time.

    Raises:
        RunFailed: rows that are not in ascending image_id order.
    """
    stream.write(b'{"info":' + _json(dict(info)) + b',"licenses":[],\n"images":[')
    _write_records(stream, _images(rows(_IMAGE_COLUMNS)))
    stream.write(b'],\n"categories":[')
    _write_records(stream, iter(labels.coco_categories()))
    stream.write(b'],\n"annotations":[')
    _write_records(stream, _annotations(rows(_SEGMENT_COLUMNS), first_id))
    stream.write(b"]}\n")


def _write_records(stream: BinaryIO, records: Iterator[Any]) -> None:
    separator = b"\n"
    for record in records:
        stream.write(separator + _json(record))
        separator = b",\n"


def _json(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8")


def _ok_rows(batches: Iterable[pa.RecordBatch | pa.Table]) -> Iterator[dict[str, Any]]:
    """Rows with status ok, a few at a time, their order checked."""
    last = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
            for row in batch.slice(start, _ROWS_AT_ONCE).to_pylist():
                if row["image_id"] <= last:
                    raise RunFailed(
                        f"rows are not in ascending image_id order: {row['image_id']} comes after "
                        f"{last}; an image is there twice or row files were read out of order"
                    )
                last = row["image_id"]
                if row["status"] == "ok":
                    yield row


def _images(batches: Iterable[pa.RecordBatch | pa.Table]) -> Iterator[CocoImage]:
    for row in _ok_rows(batches):
        yield {
            "id": row["image_id"],
            "file_name": row["key"],
            "width": row["width"],
            "height": row["height"],
        }


def _annotations(
    batches: Iterable[pa.RecordBatch | pa.Table], first_id: int
) -> Iterator[CocoAnnotation]:
    annotation_id = first_id - 1
    for row in _ok_rows(batches):
        size = [row["height"], row["width"]]
        for segment in row["segments"] or ():
            annotation_id += 1
            annotation: CocoAnnotation = {
                "id": annotation_id,
                "image_id": row["image_id"],
                "category_id": segment["category_id"],
                "segmentation": {"size": size, "counts": segment["counts"]},
                "area": segment["area"],
                "bbox": segment["bbox"],
                "iscrowd": 0,
            }
            if segment["score"] is not None:
                annotation["score"] = segment["score"]
            yield annotation
