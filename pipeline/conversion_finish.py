"""After the last block of a conversion: the target's documents, made from the committed rows."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from pipeline.conversion import DATASET_FOLDER, ConversionPlan
from pipeline.datasets.registry import dataset_format
from pipeline.datasets.samples import FinishedSample
from pipeline.layout import RunLayout

COLUMNS = ["image_id", "key", "output", "split", "height", "width", "record", "files"]


@dataclass(frozen=True, slots=True)
class CommittedSamples:
    """The ok rows in image_id order, as often as they are asked for; one block in memory."""

    layout: RunLayout

    def __iter__(self) -> Iterator[FinishedSample]:
        start = len(DATASET_FOLDER) + 1
        for table in self.layout.committed_rows([*COLUMNS, "status"]):
            for row in table.to_pylist():
                if row["status"] != "ok":
                    continue
                yield FinishedSample(
                    image_id=row["image_id"],
                    key=row["key"],
                    stem=row["output"],
                    split=row["split"],
                    size_hw=(row["height"], row["width"]),
                    record=json.loads(row["record"]),
                    files=tuple(path[start:] for path in row["files"]),
                )


@dataclass(frozen=True, slots=True)
class DatasetFolder:
    """An OutputFolder inside a run folder."""

    layout: RunLayout

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """A stream to a new file; it appears whole when the block ends without error."""
        with tempfile.TemporaryFile() as spool:  # documents can outgrow memory
            yield cast(BinaryIO, spool)
            spool.seek(0)
            relative = f"{DATASET_FOLDER}/{path}"
            folder = self.layout.path(relative).rpartition("/")[0]
            self.layout.filesystem.create_dir(folder, recursive=True)
            self.layout.write_stream(relative, cast(BinaryIO, spool))

    def read(self, path: str) -> bytes:
        """A file that was written before."""
        return self.layout.read(f"{DATASET_FOLDER}/{path}")


def finish_conversion(layout: RunLayout, plan: ConversionPlan) -> None:
    """Run the target's finisher over the committed rows."""
    writer = dataset_format(plan.request.to_format).load_writer()
    writer.finish(CommittedSamples(layout), plan.write_context, DatasetFolder(layout))
