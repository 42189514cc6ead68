"""What is made once every row is committed: documents that are a pure function of the rows."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.prelabel.writers.registry import FINISHERS, Coco, RowBatches
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.labels import LabelMap

BLOCKS_FOLDER = "annotations"


@dataclass(frozen=True, slots=True)
class Document:
    """One document: who makes it, where it lies, of which rows, and its first annotation id."""

    name: str
    path: str
    rows: RowBatches
    first_id: int = 1

    def write(self, stream: BinaryIO, labels: LabelMap, info: dict[str, Any]) -> None:
        """Its bytes; ``info`` goes in by name, however it was stored."""
        write = FINISHERS[self.name].load()
        write(self.rows, stream, labels, dict(sorted(info.items())), first_id=self.first_id)


def documents_of(layout: RunLayout, coco: Coco) -> Iterator[Document]:
    """The documents of a run: one of all rows, one of each block, or none."""
    for name, spec in FINISHERS.items():
        if coco == "one":
            yield Document(name, spec.path, layout.committed_rows)
        elif coco == "blocks":
            yield from _of_blocks(layout, name)


def _of_blocks(layout: RunLayout, name: str) -> Iterator[Document]:
    first_id = 1
    for block in layout.committed_blocks():
        rows = partial(_block_rows, layout, block)
        yield Document(name, f"{BLOCKS_FOLDER}/block-{block:07d}.json", rows, first_id)
        segments = layout.committed_block(block, ["segments"])["segments"]
        first_id += pc.sum(pc.list_value_length(segments)).as_py() or 0


def _block_rows(layout: RunLayout, block: int, columns: list[str]) -> list[pa.Table]:
    return [layout.committed_block(block, columns)]


def write_documents(
    layout: RunLayout, coco: Coco, labels: LabelMap, info: dict[str, Any], *, is_fresh: bool
) -> None:
    """Every document, each put in place whole; those of another ``coco`` are removed.

    Where no row has come (``is_fresh`` is false) those that are there are left alone.
    """
    for document in documents_of(layout, coco):
        if is_fresh or not layout.exists(document.path):
            with tempfile.TemporaryFile() as spool:  # a collection's can outgrow memory
                document.write(cast(BinaryIO, spool), labels, info)
                spool.seek(0)
                layout.write_stream(document.path, cast(BinaryIO, spool))
    if coco != "blocks":
        layout.clear(BLOCKS_FOLDER)
    if coco != "one":
        for spec in FINISHERS.values():
            layout.delete(spec.path)
