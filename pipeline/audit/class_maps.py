"""Masks of an audit read again, as class maps: for what only a few pairs are asked."""

from collections.abc import Mapping
from typing import Any

from maskmill.pipeline.audit.operator import AuditSettings, TableCache
from maskmill.pipeline.audit.sides import read_side
from maskmill.pipeline.metrics.confusion import to_class_map
from maskmill.schemas.arrays import LabelMask


class ClassMaps:
    """Reads one side of a row that has the uris and items of PAIRS."""

    def __init__(self, settings: AuditSettings) -> None:
        self._settings = settings
        self._tables = TableCache(settings)
        self._num_classes = len(settings.labels.classes)

    def truth(self, row: Mapping[str, Any]) -> LabelMask:
        """(H, W) classes, C = ignore, C + 1 = no class.

        Raises:
            FileFailure: the file is gone, or no mask any more.
        """
        return self._read(row, "truth")

    def prediction(self, row: Mapping[str, Any]) -> LabelMask:
        """As :meth:`truth`, of the other side."""
        return self._read(row, "prediction")

    def _read(self, row: Mapping[str, Any], name: str) -> LabelMask:
        settings, is_prediction = self._settings, name == "prediction"
        side = settings.prediction if is_prediction else settings.truth
        uri, item = row[f"{name}_uri"], row[f"{name}_item"]
        values, _ = read_side(side, settings.labels, uri, item, name)
        table = self._tables.of(values, is_prediction=is_prediction)
        return to_class_map(values, table, self._num_classes)
