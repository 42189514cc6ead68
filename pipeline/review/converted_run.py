"""A conversion, looked at: its rows, and its samples read from the source again."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from maskmill.pipeline.convert.conversion import ConversionPlan, ConversionRequest, plan_conversion
from maskmill.pipeline.datasets.package_limits import PackageLimits
from maskmill.pipeline.review.committed_rows import CommittedRows, OfCommittedRows
from maskmill.pipeline.review.sampled_set import SampleReader
from maskmill.pipeline.review.subject import Item
from maskmill.pipeline.runs.identity import digest_of
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import manifest_block
from maskmill.pipeline.runs.record import RunRecord
from maskmill.schemas.arrays import ConfidenceMap, LabelMask
from maskmill.schemas.errors import FileFailure, SettingsError
from maskmill.schemas.labels import LabelMap

_INDEXED: Final = [
    "image_id", "key", "block", "status", "error_code", "error_message", "width", "height",
    "ignore_pixels", "files_sha256", "classes",
]  # fmt: skip
_SELECTION: Final = """
SELECT image_id AS n, key, block, status, error_code, error_message, width, height,
  CAST(NULL AS DOUBLE) AS confidence, CAST(NULL AS DOUBLE) AS entropy,
  CAST(NULL AS DOUBLE) AS margin, CAST(NULL AS DOUBLE) AS unsure,
  ignore_pixels / greatest(CAST(width AS BIGINT) * height, 1) AS ignored,
  CAST(NULL AS DOUBLE) AS miou, CAST(NULL AS DOUBLE) AS accuracy,
  coalesce(left(files_sha256[1], 16), '') AS stamp,
  [{{'class': c, 'share': CAST(NULL AS DOUBLE), 'sure': CAST(NULL AS DOUBLE)}}
   FOR c IN classes] AS classes
FROM {source}
"""
"""Of classes a conversion's rows know only that they are there."""


class ConvertedRun(OfCommittedRows):
    """A conversion: its rows, and its samples read from the source again and mapped as it did."""

    selected = _SELECTION
    indexed = _INDEXED

    command = "convert"
    has_truth = False

    def __init__(self, layout: RunLayout, record: RunRecord) -> None:
        plan = planned_again(record, _request(record))
        self.layout: RunLayout | None = layout
        self.source, self.identity = layout.root, record.fingerprint
        self.labels = plan.mapping.target
        self._reader, self._layout = SampleReader(plan), layout
        self._rows = CommittedRows(layout, "image_id")

    def picture(self, item: Item) -> bytes:
        """Where the source has it, or the folder of --images."""
        return self._reader.picture(self._entry(item))

    def mask(self, item: Item) -> LabelMask:
        """In the target's classes."""
        return self._reader.sample(self._entry(item)).mask

    def truth(self, item: Item) -> LabelMask | None:
        """None."""
        return None

    def confidence(self, item: Item, shape: tuple[int, ...]) -> ConfidenceMap | None:
        """None."""
        return None

    def _entry(self, item: Item) -> dict[str, Any]:
        rows = manifest_block(self._layout, item.block)
        return next(entry for entry in rows if entry["image_id"] == item.n)


def _request(record: RunRecord) -> dict[str, Any]:
    own = ("out", "block_samples")
    return {name: value for name, value in record.settings.items() if name not in own}


def planned_again(record: RunRecord, asked: Mapping[str, Any]) -> ConversionPlan:
    """The plan of the samples that a run was made from, its source looked through again.

    ``asked`` are the values of the run's ConversionRequest but its labels.

    Raises:
        SettingsError: the source is gone, or has other classes than it had.
    """
    known = {**asked, "labels": None, "limits": PackageLimits(**asked["limits"])}
    request = ConversionRequest(**known)
    target = LabelMap.from_dict(record.label_map)
    told: Exception | None = None
    for labels in (None, target):
        try:
            plan, _ = plan_conversion(replace(request, labels=labels))
        except (SettingsError, FileFailure) as error:
            told = error
            continue
        if _is_same(plan, record):
            return plan
    raise SettingsError(
        f"what this run of `maskmill {record.command}` was made from, {request.source}, cannot be "
        "read as it was" + (f": {told}" if told else ": its classes are others now")
    )


def _is_same(plan: ConversionPlan, record: RunRecord) -> bool:
    mapping, identity = plan.mapping, record.identity
    return (
        digest_of(mapping.source.to_dict()) == identity.get("source_labels")
        and digest_of(mapping.target.to_dict()) == identity.get("labels")
        and list(mapping.targets) == identity.get("mapping")
    )
