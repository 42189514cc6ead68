"""What a run of `prelabel`, or annotators' work, has of each image: mask, picture, confidences."""

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa

from maskmill.pipeline.audit.mask_files import MaskFiles
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.storage.sorted_table import SortedTable, row_tables

_PLACES: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("key", "mask", "picture", "confidences")),
        ("row", pa.int64()),
    ]
)


def run_files(layout: RunLayout) -> tuple[MaskFiles, MaskFiles, MaskFiles]:
    """Masks of the ok rows, their pictures, and confidences where it wrote probabilities."""
    rows = SortedTable(row_tables(_places(layout), _PLACES), _PLACES, by="row")
    return MaskFiles(rows, "mask"), MaskFiles(rows, "picture"), MaskFiles(rows, "confidences")


def _places(layout: RunLayout) -> Iterator[tuple[Any, ...]]:
    columns = ["key", "uri", "status", "mask_path", "files"]
    rows = (row for table in layout.committed_rows(columns) for row in table.to_pylist())
    for number, row in enumerate(row for row in rows if row["status"] == "ok"):
        soft = [file["path"] for file in row["files"] or () if file["name"] == "soft"]
        confidences = layout.uri(soft[-1]) if soft else None
        yield row["key"], layout.uri(row["mask_path"]), row["uri"], confidences, number
