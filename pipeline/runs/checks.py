"""Proof that a run's rows, manifest and ledger agree: what `verify` asks of a run of any kind."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.ledger import count_ledger
from maskmill.pipeline.runs.manifest import manifest_blocks, num_inputs
from maskmill.pipeline.runs.record import RunRecord, load_record
from maskmill.schemas.errors import ErrorCode, SettingsError

_KNOWN_CODES = frozenset(code.value for code in ErrorCode)


@dataclass(frozen=True, slots=True)
class Checked:
    """One step of a proof: how many items it covered, and what it found wrong."""

    items: int
    problems: tuple[str, ...]


def record_to_prove(layout: RunLayout) -> RunRecord:
    """The record of the run in a folder.

    Raises:
        SettingsError: the folder holds no run.
    """
    record = load_record(layout)
    if record is None:
        raise SettingsError(f"{layout.root} holds no run: there is no {layout.run_record} in it")
    return record


def record_problems(layout: RunLayout, record: RunRecord, inputs: int) -> Iterator[str]:
    """The ledger of run.json against the rows, and whether the run is finished."""
    if record.state != "finished":
        yield f"{layout.run_record}: the run is not finished; run the same command again"
    ledger = count_ledger(layout, inputs)
    for name, value in (("inputs", inputs), ("ok", ledger.ok), ("failed", ledger.failed)):
        if record.ledger.get(name) != value:
            said = record.ledger.get(name)
            yield f"{layout.run_record}: the ledger says {name} {said}, counted {value}"
    if ledger.pending:
        yield f"the ledger does not add up: {inputs} inputs, {ledger.ok} ok, {ledger.failed} failed"


class ExpectedRows:
    """The manifest's items, block by block; blocks are asked for in order, each once."""

    def __init__(self, layout: RunLayout, id_column: str) -> None:
        self._layout, self._id = layout, id_column
        self.inputs = num_inputs(layout)
        self._blocks = enumerate(manifest_blocks(layout, [id_column, "key"]))
        self._missing = 0

    def problems(self, block: int, rows: pa.Table) -> Iterator[str]:
        """A committed block against the manifest: the same items, and failures that say why."""
        expected = self._up_to(block)
        if (
            expected is None
            or rows.select(expected.column_names).to_pydict() != expected.to_pydict()
        ):
            yield f"{self._layout.block_path(block)}: its rows are not those of the manifest"
        for row in rows.select(["key", "status", "error_code", "error_message"]).to_pylist():
            yield from _status_problems(row)

    def missing(self) -> Iterator[str]:
        """What no block of rows has spoken of."""
        missing = self._missing + sum(table.num_rows for _, table in self._blocks)
        if missing:
            yield f"{missing} items of the manifest have no row; run the same command again"

    def _up_to(self, block: int) -> pa.Table | None:
        for number, table in self._blocks:
            if number == block:
                return table
            self._missing += table.num_rows
        return None


def _status_problems(row: dict[str, Any]) -> Iterator[str]:
    if row["status"] == "failed":
        if row["error_code"] not in _KNOWN_CODES or not row["error_message"]:
            yield f"{row['key']}: a failed row without a known code and a message"
    elif row["status"] != "ok" or row["error_code"] is not None:
        yield f"{row['key']}: status {row['status']}, code {row['error_code']}"


def checked(items: int, problems: Iterable[str]) -> Checked:
    """A step of a proof from what it found."""
    return Checked(items, tuple(problems))
