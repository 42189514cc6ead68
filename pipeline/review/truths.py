"""Truths laid beside masks: of an audit that was made, or paired now with a folder or data set."""

from collections.abc import Iterable, Mapping
from typing import Any

from maskmill.pipeline.audit.class_maps import ClassMaps
from maskmill.pipeline.audit.manifest import audit_layout
from maskmill.pipeline.audit.operator import AuditSettings
from maskmill.pipeline.audit.plan import AuditOptions, plan_audit
from maskmill.pipeline.audit.report.changes import settings_of
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import RunRecord, load_record
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap
from maskmill.schemas.tables.audit import PAIRS

Row = Mapping[str, Any]


class Truths:
    """The truth of each prediction, found by the place of the prediction's file."""

    def __init__(self, settings: AuditSettings, rows: Iterable[Row]) -> None:
        self.labels = settings.labels
        self._maps = ClassMaps(settings)
        self._rows = {
            row["prediction_uri"]: row
            for row in rows
            if row["prediction_uri"] and row["truth_uri"] and row["prediction_item"] is None
        }

    def __len__(self) -> int:
        return len(self._rows)

    def mask(self, prediction_uri: str) -> LabelMask | None:
        """(H, W) classes of the truth; values beyond the classes are ignore; None without one."""
        row = self._rows.get(prediction_uri)
        if row is None:
            return None
        return ignoring(self._maps.truth(row), self.labels)

    def scores(self, prediction_uri: str) -> dict[str, Any]:
        """What the audit says of the pair; nothing where it was not audited."""
        row = self._rows.get(prediction_uri, {})
        names = ("miou", "pixel_accuracy", "boundary_iou", "truth_uri")
        return {name: row[name] for name in names if row.get(name) is not None}

    @property
    def miou_by_prediction(self) -> dict[str, float]:
        """mIoU by place of the prediction, of the pairs that have one."""
        return {uri: row["miou"] for uri, row in self._rows.items() if row.get("miou") is not None}


def ignoring(class_map: LabelMask, labels: LabelMap) -> LabelMask:
    """A class map of an audit (C = ignore, C + 1 = no class) as a mask of its label map."""
    mask: LabelMask = class_map.copy()
    mask[class_map >= len(labels.classes)] = labels.ignore_index
    return mask


def audited_truths(audit: str, labels: LabelMap) -> Truths:
    """The truths of an audit, also of one that is not finished: of the pairs it has come to.

    Raises:
        SettingsError: there is no audit, or one of other classes.
    """
    layout = audit_layout(audit)
    record = load_record(layout)
    if record is None or record.command != "audit":
        raise SettingsError(f"{audit} holds no audit: give the --out of one, or --truth")
    settings = audit_settings(record)
    _refuse_other_classes(audit, settings.labels, labels)
    columns = [*PAIRS.names, "miou", "pixel_accuracy", "boundary_iou", "status"]
    rows = (row for table in layout.committed_rows(columns) for row in table.to_pylist())
    return Truths(settings, (row for row in rows if row["status"] == "ok"))


def paired_truths(source: str, truth: str, labels: LabelMap) -> Truths:
    """Truths paired with a run's masks as `audit` would, nothing compared.

    Raises:
        SettingsError: nothing is there, or the classes do not meet.
    """
    options = AuditOptions(predictions=source, truth=truth)
    plan = plan_audit(options, RunLayout(source), None)
    _refuse_other_classes(truth, plan.audit.labels, labels)
    rows = (row for table in plan.manifest.tables() for row in table.to_pylist())
    return Truths(plan.audit, rows)


def audit_settings(record: RunRecord) -> AuditSettings:
    """How the masks of an audit are read, be it finished or not.

    Raises:
        SettingsError: an audit of a version that did not note it.
    """
    return settings_of({"settings": record.settings, "labels": record.label_map})


def _refuse_other_classes(where: str, theirs: LabelMap, ours: LabelMap) -> None:
    if theirs.names != ours.names:
        raise SettingsError(
            f"{where} has the classes {', '.join(theirs.names[:8])}…, the run has "
            f"{', '.join(ours.names[:8])}…: audit the run against it with a map of classes first, "
            "then give that audit with --audit"
        )
