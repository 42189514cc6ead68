"""AuditPairs: work rows of pairs -> AUDIT rows."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from maskmill.pipeline.audit.confidences import read_confidence
from maskmill.pipeline.audit.pair import Measures, Row, audit_masks, resized_nearest
from maskmill.pipeline.audit.pair_masks import ValueTables
from maskmill.pipeline.audit.sides import MAX_MASK_BYTES, AuditSide, read_side
from maskmill.pipeline.metrics.boundary import use_one_thread
from maskmill.pipeline.metrics.confusion import ValueTable, value_table
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.arrays import ConfidenceMap, LabelMask
from maskmill.schemas.errors import ErrorCode, FileFailure, MaskFailure
from maskmill.schemas.labels import LabelMap
from maskmill.schemas.tables.audit import PAIRS


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """What the numbers depend on.

    ``ignore`` values leave the count on both sides, besides the ignore value of the file's own
    width (255 or 65535).
    """

    labels: LabelMap
    ignore: tuple[int, ...] = ()
    prediction: AuditSide = field(default_factory=AuditSide)
    truth: AuditSide = field(default_factory=AuditSide)
    resize: bool = False
    measures: Measures = field(default_factory=Measures)
    hash_images: bool = False


@dataclass(frozen=True, slots=True)
class AuditPairs:
    """Reads, counts and measures every pair of a block.

    A pair that cannot be compared becomes a failed row with code and message; the others go on.
    Any other exception is a bug and stops the run.
    """

    settings: AuditSettings

    def facts(self, entry: Mapping[str, Any]) -> Row:
        """The columns of AUDIT that every row has."""
        return {name: entry[name] for name in (*PAIRS.names, "block")}

    def of_block(self) -> Callable[[Row], Row]:
        """A function from a row of PAIRS to the columns of an ok row."""
        use_one_thread()
        tables = TableCache(self.settings)
        return lambda pair: self._row(pair, tables)

    def _row(self, pair: Row, tables: "TableCache") -> Row:
        """Read and measure one pair.

        Raises:
            FileFailure: it cannot be compared, for a reason found now or when it was listed.
        """
        if pair["error_code"]:
            raise FileFailure(ErrorCode(pair["error_code"]), pair["error_message"])
        started = time.perf_counter()
        notes: list[str] = []
        try:
            row = {**self._measured(pair, tables, notes), "notes": notes}
        except FileFailure as failure:
            raise type(failure)(failure.code, f"{pair['key']}: {failure}") from failure
        except MemoryError as error:
            message = f"{pair['key']}: no memory for this pair; audit it on a larger machine"
            raise MaskFailure(ErrorCode.OUT_OF_MEMORY, message) from error
        return {**row, "measure_ms": (time.perf_counter() - started) * 1000 - row["read_ms"]}

    def _measured(self, pair: Row, tables: "TableCache", notes: list[str]) -> Row:
        settings, started = self.settings, time.perf_counter()
        labels = settings.labels
        prediction, prediction_kind = read_side(
            settings.prediction,
            labels,
            pair["prediction_uri"],
            pair["prediction_item"],
            "prediction",
        )
        truth, truth_kind = read_side(
            settings.truth, labels, pair["truth_uri"], pair["truth_item"], "truth"
        )
        row: Row = {"prediction_kind": prediction_kind, "truth_kind": truth_kind}
        if settings.hash_images and pair["image_uri"]:
            row["image_sha256"] = _picture_hash(pair["image_uri"], notes)
        row["read_ms"] = (time.perf_counter() - started) * 1000
        prediction = _fitted(prediction, truth, settings.resize, notes)
        return row | audit_masks(
            truth, prediction, labels.names,
            tables=ValueTables(
                tables.of(truth, is_prediction=False), tables.of(prediction, is_prediction=True)
            ),
            measures=settings.measures,
            read_confidence=lambda: _confidence(pair, prediction.shape, notes),
        )  # fmt: skip


class TableCache:
    """Value tables by side and width, made once per block."""

    def __init__(self, settings: AuditSettings) -> None:
        self._settings = settings
        self._tables: dict[tuple[bool, int], ValueTable] = {}

    def of(self, mask: LabelMask, *, is_prediction: bool) -> ValueTable:
        """The table for the values of one mask of one side."""
        key = is_prediction, 8 * mask.dtype.itemsize
        if key not in self._tables:
            self._tables[key] = self._make(key[1], is_prediction=is_prediction)
        return self._tables[key]

    def _make(self, bits: int, *, is_prediction: bool) -> ValueTable:
        side = self._settings.prediction if is_prediction else self._settings.truth
        num_classes = len(self._settings.labels.classes)
        top = (1 << bits) - 1
        own = {255, top} if num_classes <= 255 else {top} if num_classes <= top else ()
        return value_table(
            num_classes, bits=bits,
            ignore=(*own, *(value for value in self._settings.ignore if value <= top)),
            mapping=side.mapping,
        )  # fmt: skip


def _read(uri: str) -> bytes:
    return read_bytes(uri, limit=MAX_MASK_BYTES)


def _fitted(prediction: LabelMask, truth: LabelMask, resize: bool, notes: list[str]) -> LabelMask:
    """The prediction, resized where that was asked for; swapped sides are never resized away."""
    if prediction.shape in (truth.shape, truth.shape[::-1]) or not resize:
        return prediction
    notes.append(
        f"prediction resized by nearest neighbour from {prediction.shape[1]}x{prediction.shape[0]}"
    )
    return resized_nearest(prediction, truth.shape)


def _picture_hash(uri: str, notes: list[str]) -> str | None:
    """The numbers need no picture, so one that is gone is noted and no failure."""
    try:
        return hashlib.sha256(_read(uri)).hexdigest()
    except FileFailure as failure:
        notes.append(f"picture not read: {failure.code.value}")
        return None


def _confidence(pair: Row, shape: tuple[int, ...], notes: list[str]) -> ConfidenceMap | None:
    """Confidences that cannot be used are noted: only the calibration numbers need them."""
    if not pair["confidence_uri"]:
        return None
    try:
        return read_confidence(_read(pair["confidence_uri"]), shape, name="confidences")
    except FileFailure as failure:
        notes.append(f"confidences not used: {failure.code.value}")
        return None
