"""ConvertMasks: the samples of a block in another format, files and rows committed together."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from maskmill.pipeline.convert.conversion import DATASET_FOLDER, ConversionPlan
from maskmill.pipeline.convert.pictures import (
    FoundPicture,
    missing_picture,
    picture_of,
    places_near,
    refuse_other_size,
    with_picture,
)
from maskmill.pipeline.datasets.class_mapping import ClassMapping, map_mask
from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.left_out import (
    CONTESTED,
    PICTURES,
    TO_BACKGROUND,
    TO_IGNORE,
    Omission,
    left_out_rows,
)
from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import Sample, SampleItem, Target
from maskmill.pipeline.masks.run_lengths import value_counts
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.errors import ErrorCode, FileFailure

IGNORE_PIXELS: Final = "ignore"


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
        found = self._picture(sample, entry)
        if self.plan.copies_images:
            sample = with_picture(sample, found)
        target_format = dataset_format(self.plan.request.to_format)
        written = target_format.load_writer().write(sample, target, self.plan.write_context)
        picture = written.image_path if found else None
        copied = {picture: _fitting_bytes(sample, found)} if found and picture else {}
        files = self._store({**written.files, **copied})
        left_out = Counter(sample.left_out) + left_out_of(sample, target_format)
        if self.plan.copies_images and not copied:
            left_out[Omission(PICTURES)] += 1
        return {
            **_pixel_columns(sample),
            "notes": [*sample.notes, *written.notes],
            "files": list(files),
            "files_sha256": list(files.values()),
            "left_out": left_out_rows(left_out),
            "picture": f"{DATASET_FOLDER}/{picture}" if copied else None,
            "record": json.dumps(written.record, ensure_ascii=False),
            "segment_ious": list(written.segment_ious),
            "min_iou": min(written.segment_ious, default=None),
            "read_ms": (read_at - started) * 1000,
            "write_ms": (time.perf_counter() - read_at) * 1000,
        }

    def _picture(self, sample: Sample, entry: Mapping[str, Any]) -> FoundPicture | None:
        """The picture to copy; None where none is wanted, or where a layout that has it lacks it.

        Raises:
            DocumentFailure: --with-images asks for it, and it is not there.
        """
        if not self.plan.copies_images:
            return None
        found = picture_of(self.plan, sample, places_near(entry))
        if found is None and self.plan.request.with_images:
            raise missing_picture(sample)
        return found

    def _store(self, files: Mapping[str, bytes]) -> dict[str, str]:
        """Put the files in place; SHA-256 by path relative to OUT, sorted."""
        for path, data in files.items():
            self.layout.write(f"{DATASET_FOLDER}/{path}", data)
        return {
            f"{DATASET_FOLDER}/{path}": hashlib.sha256(files[path]).hexdigest()
            for path in sorted(files)
        }


def _fitting_bytes(sample: Sample, found: FoundPicture) -> bytes:
    """The picture to copy, of the mask's size.

    Raises:
        FileFailure: it cannot be read, is no picture, or has another size.
    """
    data = found.read()
    refuse_other_size(sample, found.name, data)
    return data


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
    dropped = Counter() if mapping.is_identity else _left_by(mapping, sample.mask)
    return replace(
        sample,
        key=entry["key"],
        mask=map_mask(sample.mask, sample.labels, mapping),
        left_out=Counter(sample.left_out) + dropped,
        labels=mapping.target,
        scores={index: sum(found) / len(found) for index, found in scores.items()},
    )


def left_out_of(sample: Sample, target: DatasetFormat) -> Counter[Omission]:
    """Pixels of a mapped sample that the target will not tell apart any more."""
    counts = Counter({Omission(CONTESTED): sample.overlap})
    if not target.holds_ignore and sample.labels.background_index is not None:
        ignored = int(np.count_nonzero(sample.mask == sample.labels.ignore_index))
        counts[Omission(TO_BACKGROUND, IGNORE_PIXELS)] = ignored
    return +counts


def _left_by(mapping: ClassMapping, mask: LabelMask) -> Counter[Omission]:
    """Pixels of the classes that a map drops, by class."""
    values, counts = value_counts(mask)
    ends = {mapping.target.background_index: TO_BACKGROUND, mapping.target.ignore_index: TO_IGNORE}
    found: Counter[Omission] = Counter()
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        entry = mapping.source.classes[value] if value < len(mapping.targets) else None
        if entry is not None and not entry.is_background and mapping.targets[value] in ends:
            found[Omission(ends[mapping.targets[value]], entry.name)] += count
    return found


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
