"""After the last block of a conversion: the target's documents, made from the committed rows."""

import json
import shlex
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.convert.conversion import DATASET_FOLDER, ConversionPlan
from maskmill.pipeline.datasets.bare_shapes import bare_failure, bare_of, has_drawn
from maskmill.pipeline.datasets.left_out import LeftOut, add_rows, left_out_rows
from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import FinishedSample, FinishedSamples
from maskmill.pipeline.runs.layout import RunLayout

COLUMNS = ["image_id", "key", "output", "split", "height", "width", "record", "files"]


def committed_samples(layout: RunLayout) -> FinishedSamples:
    """The ok rows of a conversion; one block of them is in memory at a time."""
    counts: Counter[str] = Counter()
    for table in layout.committed_rows(["split", "status"]):
        counts.update(table.filter(pc.equal(table["status"], "ok"))["split"].to_pylist())
    return FinishedSamples(partial(_read, layout), dict(counts))


def _read(layout: RunLayout, splits: frozenset[str]) -> Iterator[FinishedSample]:
    wanted = pa.array(sorted(splits), pa.string())
    for table in layout.committed_rows([*COLUMNS, "status"]):
        chosen = pc.and_(pc.equal(table["status"], "ok"), pc.is_in(table["split"], wanted))
        for row in table.filter(chosen).to_pylist():
            yield FinishedSample(
                image_id=row["image_id"],
                key=row["key"],
                stem=row["output"],
                split=row["split"],
                size_hw=(row["height"], row["width"]),
                record=json.loads(row["record"]),
                files=tuple(path[len(DATASET_FOLDER) + 1 :] for path in row["files"]),
            )


@dataclass(frozen=True, slots=True)
class DatasetFolder:
    """An OutputFolder inside a run folder; ``written`` are its files, in order."""

    layout: RunLayout
    written: list[str] = field(default_factory=list)

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
        self.written.append(path)

    def read(self, path: str) -> bytes:
        """A file that was written before."""
        return self.layout.read(f"{DATASET_FOLDER}/{path}")


def finish_conversion(layout: RunLayout, plan: ConversionPlan) -> list[str]:
    """Run the target's finisher over the committed rows; paths of the documents it wrote."""
    writer = dataset_format(plan.request.to_format).load_writer()
    folder = DatasetFolder(layout)
    writer.finish(committed_samples(layout), plan.write_context, folder)
    return folder.written


@dataclass(frozen=True, slots=True)
class Yield:
    """What became of the source beyond the masks: counts over all committed rows.

    ``pictures`` were copied; ``left_out`` is everything that did not reach the target, by kind.
    """

    pictures: int
    left_out: LeftOut

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"pictures": self.pictures, "left_out": left_out_rows(self.left_out)}


def count_yield(layout: RunLayout, plan: ConversionPlan) -> Yield:
    """Sum the rows, streamed, and what of the source belongs to no row."""
    total, pictures = Counter(plan.left_out), 0
    for table in layout.committed_rows(["left_out", "picture"]):
        pictures += len(table) - table["picture"].null_count
        for rows in table["left_out"].to_pylist():
            add_rows(total, rows or ())
    return Yield(pictures, total)


def refuse_boxes_alone(layout: RunLayout, plan: ConversionPlan, counts: Yield) -> None:
    """What :func:`bare_shapes.refuse_bare` says before a run, where the first samples hid it.

    Args:
        layout: the run, all rows committed.
        plan: what was converted.
        counts: of the run.

    Raises:
        DocumentFailure: MALFORMED; no mask has a pixel beside background, and boxes or key points
            were all there was to draw.
    """
    bare = bare_of(counts.left_out)
    if not bare or has_drawn(counts.left_out) or _has_foreground(layout, plan):
        return
    failure = bare_failure(plan.request.source, bare)
    told = f"{layout.root} holds masks of background alone and can be deleted"
    raise type(failure)(failure.code, f"{failure}. {told}")


def _has_foreground(layout: RunLayout, plan: ConversionPlan) -> bool:
    """True where some mask has a class beside background, or none could be made at all."""
    background, any_ok = plan.mapping.target.background_index, False
    for table in layout.committed_rows(["status", "classes", "ignore_pixels"]):
        for row in table.to_pylist():
            any_ok |= row["status"] == "ok"
            if row["ignore_pixels"] or set(row["classes"] or ()) - {background}:
                return True
    return not any_ok


def import_commands(plan: ConversionPlan, layout: RunLayout, written: Sequence[str]) -> list[str]:
    """The command that hands each of the ``written`` documents to its program, if one does."""
    target = dataset_format(plan.request.to_format)
    if not target.import_command:
        return []
    return [
        f"{target.import_command}{shlex.quote(f'{layout.root}/{DATASET_FOLDER}/{path}')}"
        for path in written
        if path.endswith(target.package_suffix)
    ]
