"""ConvertMasks: the samples of a block in another format, files and rows committed together."""

import hashlib
import json
import os
import socket
import time
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from maskmill.pipeline.convert.conversion import DATASET_FOLDER, ConversionPlan
from maskmill.pipeline.convert.manifest import block_rows
from maskmill.pipeline.datasets.class_mapping import map_mask
from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import Sample, SampleItem, Target, Written
from maskmill.pipeline.masks.run_lengths import value_counts
from maskmill.pipeline.runs.attempts import IMAGE_DEATHS, BlockAttempt, begin_stage
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.storage.filesystems import is_uri, read_bytes
from maskmill.schemas.errors import ErrorCode, FileFailure
from maskmill.schemas.tables.blocks import TALLY
from maskmill.schemas.tables.convert import CONVERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertMasks:
    """Reads, maps and writes every sample of a block, then commits its rows in one piece.

    Files go to paths that the key decides, so doing a block again is harmless. A bad sample
    becomes a failed row; any other exception is a bug and stops the run.
    """

    layout: RunLayout
    session: str
    plan: ConversionPlan
    fingerprint: str
    tool_version: str

    def __call__(self, work: pa.Table) -> pa.Table:
        """A table of schema CONVERSION_WORK in, one of schema TALLY out."""
        tables = [self._convert_block(row) for row in work.to_pylist()]
        return pa.concat_tables(tables).select(TALLY.names).cast(TALLY)

    def _convert_block(self, row: dict[str, Any]) -> pa.Table:
        attempt = begin_stage(self.layout, row["block"], "load", self.session)
        entries = block_rows(self.layout, self.layout.manifest, row["block"])
        wanted = row["image_ids"]
        rows = [
            self._row(entry, attempt)
            for entry in entries
            if wanted is None or entry["image_id"] in wanted
        ]
        attempt.finish()
        table = pa.Table.from_pylist(rows, schema=CONVERSION)
        self.layout.commit_block(row["block"], table, schema=CONVERSION)
        self.layout.delete(self.layout.attempts_path(row["block"]))
        return table

    def _row(self, entry: dict[str, Any], attempt: BlockAttempt) -> dict[str, Any]:
        facts = {
            **{name: entry[name] for name in ("image_id", "key", "block", "output", "split")},
            "attempts": attempt.starts,
            "settings_fingerprint": self.fingerprint,
            "tool_version": self.tool_version,
            "worker": f"{socket.gethostname()}:{os.getpid()}",
        }
        if attempt.is_deadly(entry["image_id"]):
            message = f"{entry['key']}: the worker process died {IMAGE_DEATHS} times on this sample"
            return {**facts, **_failed(ErrorCode.WORKER_DIED, message)}
        attempt.mark(entry["image_id"])
        try:
            return {**facts, "status": "ok", **self._convert(entry)}
        except FileFailure as failure:
            return {**facts, **_failed(failure.code, str(failure))}

    def _convert(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Read, map, write; the columns of an ok row."""
        started = time.perf_counter()
        sample = mapped_sample(self.plan, entry)
        read_at = time.perf_counter()
        target = Target(image_id=entry["image_id"], stem=entry["output"], split=entry["split"])
        writer = dataset_format(self.plan.request.to_format).load_writer()
        written = writer.write(sample, target, self.plan.write_context)
        files = self._store(sample, written)
        return {
            **_pixel_columns(sample),
            "notes": [*sample.notes, *written.notes],
            "files": list(files),
            "files_sha256": list(files.values()),
            "record": json.dumps(written.record, ensure_ascii=False),
            "segment_ious": list(written.segment_ious),
            "min_iou": min(written.segment_ious, default=None),
            "read_ms": (read_at - started) * 1000,
            "write_ms": (time.perf_counter() - read_at) * 1000,
        }

    def _store(self, sample: Sample, written: Written) -> dict[str, str]:
        """Put the files in place; SHA-256 by path relative to OUT, sorted."""
        files = dict(written.files)
        if self.plan.copies_images and written.image_path is not None:
            data = picture_bytes(self.plan, sample)
            if data is not None:
                files[written.image_path] = data
        for path, data in files.items():
            self.layout.write(f"{DATASET_FOLDER}/{path}", data)
        return {
            f"{DATASET_FOLDER}/{path}": hashlib.sha256(files[path]).hexdigest()
            for path in sorted(files)
        }


def mapped_sample(plan: ConversionPlan, entry: dict[str, Any]) -> Sample:
    """The sample of a manifest row, in the target's classes.

    Raises:
        FileFailure: it cannot be read.
    """
    item = SampleItem(key=entry["key"], payload=json.loads(entry["payload"]), split=entry["split"])
    reader = dataset_format(plan.request.from_format).load_reader()
    sample = reader.read(item, plan.read_context)
    mapping = plan.mapping
    if sample.mask.size == 0:
        raise FileFailure(ErrorCode.MALFORMED, f"{entry['key']}: the mask has no pixels")
    scores: dict[int, list[float]] = {}
    for index, score in sample.scores.items():
        scores.setdefault(mapping.targets[index], []).append(score)
    return replace(
        sample,
        key=entry["key"],
        mask=map_mask(sample.mask, sample.labels, mapping),
        labels=mapping.target,
        scores={index: sum(found) / len(found) for index, found in scores.items()},
    )


def picture_bytes(plan: ConversionPlan, sample: Sample) -> bytes | None:
    """The picture's file: from --images, the source's tree, or its URI; None where there is none.

    Raises:
        FileFailure: it is named, but cannot be read.
    """
    if sample.image is None:
        return None
    context = plan.read_context
    if context.images is not None and context.images.has(sample.image):
        return context.images.read(sample.image)
    if is_uri(sample.image) or sample.image.startswith("/"):
        return read_bytes(sample.image)
    return context.tree.read(sample.image)


def _failed(code: ErrorCode, message: str) -> dict[str, Any]:
    return {"status": "failed", "error_code": code.value, "error_message": message}


def _pixel_columns(sample: Sample) -> dict[str, Any]:
    values, counts = value_counts(sample.mask)
    pixels = dict(zip(values.tolist(), counts.tolist(), strict=True))
    ignored = pixels.pop(sample.labels.ignore_index, 0)
    height, width = sample.size_hw
    return {
        "width": width,
        "height": height,
        "classes": list(pixels),
        "ignore_pixels": ignored,
        "overlap_pixels": sample.overlap,
    }
