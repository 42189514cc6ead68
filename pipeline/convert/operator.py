"""ConvertMasks: the samples of a block in another format, files and rows committed together."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from maskmill.pipeline.convert.conversion import DATASET_FOLDER, ConversionPlan
from maskmill.pipeline.datasets.class_mapping import map_mask
from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import Sample, SampleItem, Target, Written
from maskmill.pipeline.masks.run_lengths import value_counts
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.storage.filesystems import is_uri, read_bytes
from maskmill.schemas.errors import ErrorCode, FileFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertMasks:
    """Reads, maps and writes every sample of a block.

    Files go to paths that the key decides. A bad sample becomes a failed row; any other exception
    is a bug and stops the run.
    """

    layout: RunLayout
    plan: ConversionPlan
    fingerprint: str
    tool_version: str

    def facts(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of CONVERSION that every row has."""
        return {
            **{name: entry[name] for name in ("image_id", "key", "block", "output", "split")},
            "settings_fingerprint": self.fingerprint,
            "tool_version": self.tool_version,
        }

    def of_block(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """A function from a manifest row to the columns of an ok row."""
        return self._convert

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
