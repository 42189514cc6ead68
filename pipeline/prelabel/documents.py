"""What is made once every row is committed: documents that are a pure function of the rows."""

import tempfile
from typing import Any, BinaryIO, cast

from maskmill.pipeline.prelabel.writers.registry import FINISHERS
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.labels import LabelMap


def write_documents(layout: RunLayout, labels: LabelMap, info: dict[str, Any]) -> None:
    """Every document of FINISHERS, each put in place whole."""
    for name, spec in FINISHERS.items():
        with tempfile.TemporaryFile() as spool:  # a collection's COCO file can outgrow memory
            write_document(layout, name, cast(BinaryIO, spool), labels, info)
            spool.seek(0)
            layout.write_stream(spec.path, cast(BinaryIO, spool))


def write_document(
    layout: RunLayout, name: str, stream: BinaryIO, labels: LabelMap, info: dict[str, Any]
) -> None:
    """One document, from the committed rows; ``info`` goes in by name, however it was stored."""
    FINISHERS[name].load()(layout.committed_rows, stream, labels, dict(sorted(info.items())))
