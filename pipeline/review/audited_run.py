"""An audit, looked at: predictions beside their truths."""

from typing import Final

from maskmill.pipeline.audit.class_maps import ClassMaps
from maskmill.pipeline.audit.confidences import read_confidence
from maskmill.pipeline.review.committed_rows import CommittedRows, OfCommittedRows
from maskmill.pipeline.review.subject import Item
from maskmill.pipeline.review.truths import audit_settings, ignoring
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import RunRecord
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.arrays import ConfidenceMap, LabelMask
from maskmill.schemas.errors import ErrorCode, FileFailure, ImageFailure

_INDEXED: Final = [
    "pair_id", "key", "block", "status", "error_code", "error_message", "width", "height",
    "ignored_pixels", "pixels", "miou", "pixel_accuracy", "prediction_sha256", "classes",
]  # fmt: skip
_SELECTION: Final = """
SELECT pair_id AS n, key, block, status, error_code, error_message, width, height,
  CAST(NULL AS DOUBLE) AS confidence, CAST(NULL AS DOUBLE) AS entropy,
  CAST(NULL AS DOUBLE) AS margin, CAST(NULL AS DOUBLE) AS unsure,
  ignored_pixels / greatest(pixels, 1) AS ignored, miou, pixel_accuracy AS accuracy,
  coalesce(left(prediction_sha256, 16), '') AS stamp,
  [{{'class': c.index, 'share': c.predicted_pixels / greatest(pixels, 1), 'sure': c.iou}}
   FOR c IN classes IF c.predicted_pixels + c.truth_pixels > 0] AS classes
FROM {source}
"""


class AuditedRun(OfCommittedRows):
    """Both sides where the audit read them; ``sure`` of a class is its IoU here."""

    selected = _SELECTION
    indexed = _INDEXED

    command = "audit"
    has_truth = True

    def __init__(self, layout: RunLayout, record: RunRecord) -> None:
        settings = audit_settings(record)
        self.layout: RunLayout | None = layout
        self.source, self.identity, self.labels = layout.root, record.fingerprint, settings.labels
        self._maps = ClassMaps(settings)
        self._rows = CommittedRows(layout, "pair_id")

    def picture(self, item: Item) -> bytes:
        """The picture, where the audit knew one."""
        uri = self._rows.row(item)["image_uri"]
        if not uri:
            raise ImageFailure(
                ErrorCode.MISSING_IMAGE,
                f"{item.key}: the audit knew no picture; audit again with --images DIR",
            )
        return read_bytes(uri)

    def mask(self, item: Item) -> LabelMask:
        """The prediction."""
        row = self._rows.row(item)
        if not row["prediction_uri"]:
            raise FileFailure(ErrorCode(row["error_code"]), str(row["error_message"]))
        return ignoring(self._maps.prediction(row), self.labels)

    def truth(self, item: Item) -> LabelMask | None:
        """The truth."""
        row = self._rows.row(item)
        return ignoring(self._maps.truth(row), self.labels) if row["truth_uri"] else None

    def confidence(self, item: Item, shape: tuple[int, ...]) -> ConfidenceMap | None:
        """As the audit read it."""
        uri = self._rows.row(item)["confidence_uri"]
        return read_confidence(read_bytes(uri), shape, name=uri) if uri else None
