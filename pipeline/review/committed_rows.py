"""The rows of a run folder for the index and for single images: what every kind of run shares."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any, ClassVar, Final

import pyarrow as pa

from maskmill.pipeline.review.subject import Item, Standing
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import num_inputs
from maskmill.pipeline.runs.record import load_record
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.errors import DocumentFailure, ErrorCode

_KEPT_BLOCKS: Final = 16
HEAVY: Final = frozenset({"segments", "regions", "cells", "record", "levels", "trimap"})
"""Columns that nobody looks at one image by."""


class CommittedRows:
    """Blocks of a run, read from its folder; ``id_column`` names the images' ids."""

    def __init__(self, layout: RunLayout, id_column: str) -> None:
        self.layout = layout
        self._id = id_column
        self._blocks: OrderedDict[tuple[int, str], dict[int, dict[str, Any]]] = OrderedDict()
        self._lock = Lock()

    def standing(self) -> Standing:
        """State and number of inputs as run.json and the manifest have them now."""
        record = load_record(self.layout)
        state = record.state if record else "finished"
        inputs = None
        if self.layout.exists(self.layout.manifest):
            inputs = num_inputs(self.layout)
        return Standing(state=state, inputs=inputs)

    def blocks(self) -> dict[int, str]:
        """Committed blocks, each with size and time of change of its file."""
        return self.layout.committed_stamps()

    def rows(self, blocks: Sequence[int], columns: list[str]) -> list[str] | pa.Table:
        """Files where they are local, else a table of ``columns``."""
        if self.layout.is_local:
            return [str(self.layout.local(self.layout.block_path(block))) for block in blocks]
        tables = [self.layout.committed_block(block, columns) for block in blocks]
        return pa.concat_tables(tables)

    def row(self, item: Item) -> dict[str, Any]:
        """The row of one image, without the heavy columns.

        Raises:
            DocumentFailure: the block does not have it any more.
        """
        key = item.block, item.stamp
        with self._lock:
            found = self._blocks.get(key)
        if found is None:
            table = self.layout.committed_block(item.block)  # whatever columns its version had
            table = table.drop_columns([name for name in table.column_names if name in HEAVY])
            found = {row[self._id]: row for row in table.to_pylist()}
            self._keep(key, found)
        if item.n not in found:
            raise DocumentFailure(
                ErrorCode.VANISHED, f"{item.key}: its row is not in the run any more"
            )
        return found[item.n]

    def _keep(self, key: tuple[int, str], rows: dict[int, dict[str, Any]]) -> None:
        with self._lock:
            self._blocks[key] = rows
            while len(self._blocks) > _KEPT_BLOCKS:
                self._blocks.popitem(last=False)


class OfCommittedRows:
    """What every run that is looked at has by its rows; ``selected`` and ``indexed`` are its own.

    ``selected``: SQL of the index's columns over the rows. ``indexed``: columns that it needs.
    """

    has_before = False
    selected: ClassVar[str]
    indexed: ClassVar[list[str]]
    _rows: CommittedRows

    def standing(self) -> Standing:
        """As run.json has it now."""
        return self._rows.standing()

    def blocks(self) -> dict[int, str]:
        """Committed blocks."""
        return self._rows.blocks()

    def selection(self) -> str:
        """Of the columns that the index needs."""
        return self.selected

    def rows(self, blocks: Sequence[int]) -> list[str] | pa.Table:
        """Without what the index does not need."""
        return self._rows.rows(blocks, self.indexed)

    def row(self, item: Item) -> dict[str, Any]:
        """The row."""
        return self._rows.row(item)

    def before(self, item: Item) -> LabelMask | None:
        """None: what is looked at was not learnt."""
        return None
