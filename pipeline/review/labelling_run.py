"""A run of `prelabel` or `cutout`, looked at; and what `pull` brought, whose folder is like one."""

import hashlib
from typing import Any, Final

from maskmill.pipeline.audit.confidences import read_confidence
from maskmill.pipeline.prelabel.writers.mask_file import png_to_mask
from maskmill.pipeline.review.committed_rows import CommittedRows, OfCommittedRows
from maskmill.pipeline.review.subject import Item
from maskmill.pipeline.review.truths import Truths
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import RunRecord
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.arrays import ConfidenceMap, LabelMask
from maskmill.schemas.errors import ErrorCode, ImageFailure, MaskFailure
from maskmill.schemas.labels import LabelMap

MAX_FILE_BYTES: Final = 2 << 30
_INDEXED: Final = [
    "image_id", "key", "block", "status", "error_code", "error_message", "width", "height",
    "mean_confidence", "mean_entropy", "mean_margin", "low_confidence_fraction",
    "ignored_fraction", "mask_sha256", "classes",
]  # fmt: skip
_SELECTION: Final = """
SELECT image_id AS n, key, block, status, error_code, error_message, width, height,
  mean_confidence AS confidence, mean_entropy AS entropy, mean_margin AS margin,
  low_confidence_fraction AS unsure, ignored_fraction AS ignored,
  CAST(NULL AS DOUBLE) AS miou, CAST(NULL AS DOUBLE) AS accuracy,
  coalesce(left(mask_sha256, 16), '') AS stamp,
  [{{'class': c.index, 'share': c.fraction, 'sure': c.mean_confidence}} FOR c IN classes] AS classes
FROM {source}
"""
_PULLED: Final = [
    "image_id", "key", "block", "status", "error_code", "error_message", "width", "height",
    "mask_sha256", "classes",
]  # fmt: skip
_PULLED_SELECTION: Final = """
SELECT image_id AS n, key, block, status, error_code, error_message, width, height,
  CAST(NULL AS DOUBLE) AS confidence, CAST(NULL AS DOUBLE) AS entropy,
  CAST(NULL AS DOUBLE) AS margin, CAST(NULL AS DOUBLE) AS unsure,
  CAST(NULL AS DOUBLE) AS ignored, CAST(NULL AS DOUBLE) AS miou, CAST(NULL AS DOUBLE) AS accuracy,
  coalesce(left(mask_sha256, 16), '') AS stamp,
  [{{'class': c.index, 'share': c.fraction, 'sure': CAST(NULL AS DOUBLE)}} FOR c IN classes]
    AS classes
FROM {source}
"""


class LabellingRun(OfCommittedRows):
    """Pictures where the rows say they are, masks and probabilities in the run folder."""

    selected = _SELECTION
    indexed = _INDEXED

    def __init__(self, layout: RunLayout, record: RunRecord, truths: Truths | None = None) -> None:
        self.layout: RunLayout | None = layout
        self.source, self.command = layout.root, record.command
        self.identity = record.fingerprint
        self.labels = LabelMap.from_dict(record.label_map)
        self.has_truth = truths is not None
        self._layout, self._truths = layout, truths
        self._rows = CommittedRows(layout, "image_id")

    def row(self, item: Item) -> dict[str, Any]:
        """The row, with the place of its mask as one can paste it; scores of the truth with it."""
        row = dict(self._rows.row(item))
        if row["mask_path"]:
            row["mask"] = self._layout.uri(row["mask_path"])
        if self._truths is not None:
            row |= self._truths.scores(self._mask_uri(row))
        return row

    def scores(self) -> dict[str, float]:
        """mIoU by key of the masks, where an audit has told them."""
        if self._truths is None:
            return {}
        known = self._truths.miou_by_prediction
        found: dict[str, float] = {}
        for table in self._layout.committed_rows(["key", "mask_path"]) if known else ():
            for row in table.to_pylist():
                uri = self._mask_uri(row)
                if uri in known:
                    found[row["key"]] = known[uri]
        return found

    def picture(self, item: Item) -> bytes:
        """The file that was labelled, and no other."""
        row = self._rows.row(item)
        data = read_bytes(row["uri"], limit=MAX_FILE_BYTES)
        if row.get("sha256") and hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise ImageFailure(
                ErrorCode.VANISHED,
                f"{row['uri']} is not the file that was labelled: put the old one back, or label "
                "the new one",
            )
        return data

    def mask(self, item: Item) -> LabelMask:
        """The mask's file as it now lies."""
        row = self._rows.row(item)
        if row["status"] != "ok":
            raise MaskFailure(ErrorCode(row["error_code"]), str(row["error_message"]))
        data = read_bytes(self._layout.uri(row["mask_path"]), limit=MAX_FILE_BYTES)
        return png_to_mask(data, self.labels, name=row["mask_path"])

    def truth(self, item: Item) -> LabelMask | None:
        """By the mask's place, as the audit paired it."""
        if self._truths is None:
            return None
        return self._truths.mask(self._mask_uri(self._rows.row(item)))

    def confidence(self, item: Item, shape: tuple[int, ...]) -> ConfidenceMap | None:
        """Of the probabilities, where `--write soft` was asked for."""
        files = self._rows.row(item)["files"] or []
        path = next((file["path"] for file in files if file["name"] == "soft"), None)
        if path is None:
            return None
        return read_confidence(read_bytes(self._layout.uri(path)), shape, name=path)

    def _mask_uri(self, row: dict[str, Any]) -> str:
        return self._layout.uri(row["mask_path"] or "")


class PulledRun(LabellingRun):
    """Annotations brought from a server: of pictures only their place is known, no confidence."""

    indexed = _PULLED
    selected = _PULLED_SELECTION
