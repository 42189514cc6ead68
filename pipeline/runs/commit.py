"""CommitItems: jobs of one stage. A block's items are worked on, and its rows committed whole."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.runs.attempts import FIRST_STAGE, BlockAttempt, begin_stage, forget
from maskmill.pipeline.runs.isolation import death_notice, each_item, worker_name
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import block_rows
from maskmill.pipeline.runs.rows import RowTable, commit_block
from maskmill.schemas.errors import ErrorCode, FileFailure
from maskmill.schemas.tables.blocks import TALLY

Row = dict[str, Any]


class ItemWork(Protocol):
    """What a job of one stage does to each item. It travels to the workers."""

    def facts(self, entry: Mapping[str, Any]) -> Row:
        """The columns that every row has, failed or not, of a manifest row; key among them."""

    def of_block(self) -> Callable[[Row], Row]:
        """A function from a manifest row to the further columns of an ok row, for one block.

        It is called by several threads at once. It raises FileFailure for a bad item, which becomes
        a failed row; any other exception is a bug and stops the run.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitItems:
    """Does every pending item of a block, then commits the block's rows; the driver gets a tally.

    What is written beside the rows lies at paths that the key decides, so doing a block again is
    harmless.
    """

    layout: RunLayout
    session: str
    table: RowTable
    work: ItemWork

    def __call__(self, pending: pa.Table) -> pa.Table:
        """A table of schema PENDING in, one of schema TALLY out."""
        return pa.concat_tables([TALLY.empty_table(), *map(self._block, pending.to_pylist())])

    def _block(self, pending: Row) -> pa.Table:
        block = pending["block"]
        attempt = begin_stage(self.layout, block, FIRST_STAGE, self.session)
        entries = block_rows(self.layout, pending, self.table.id)
        rows = pa.Table.from_pylist(self._rows(entries, attempt), schema=self.table.schema)
        attempt.finish()
        commit_block(self.layout, block, rows, self.table)
        forget(self.layout, block)
        return rows.select(TALLY.names).cast(TALLY)

    def _rows(self, entries: list[Row], attempt: BlockAttempt) -> list[Row]:
        work = self.work.of_block()

        def done(entry: Row) -> Row:
            row = self._facts(entry, attempt)
            try:
                return {**row, "status": "ok", **work(entry)}
            except FileFailure as failure:
                return {**row, **failed_columns(failure.code, str(failure))}

        def died(entry: Row) -> Row:
            notice = death_notice(entry["key"], FIRST_STAGE)
            return {**self._facts(entry, attempt), **failed_columns(ErrorCode.WORKER_DIED, notice)}

        items = each_item(
            attempt, entries, done, id_of=lambda entry: int(entry[self.table.id]), died=died
        )
        return list(items)

    def _facts(self, entry: Row, attempt: BlockAttempt) -> Row:
        return {**self.work.facts(entry), "attempts": attempt.starts, "worker": worker_name()}


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSaved:
    """The last stage of a longer job: saves a block, then commits its rows.

    One call does both, so that no engine can come between a block's files and its rows.
    """

    layout: RunLayout
    table: RowTable
    save: Callable[[pa.Table], pa.Table]

    def __call__(self, parcels: pa.Table) -> pa.Table:
        """A table with a column ``block`` in, one of schema TALLY out."""
        rows = self.save(parcels)
        for block in parcels["block"].to_pylist():
            commit_block(
                self.layout, block, rows.filter(pc.equal(rows["block"], block)), self.table
            )
            forget(self.layout, block)
        return rows.select(TALLY.names).cast(TALLY)


def failed_columns(code: ErrorCode, message: str) -> Row:
    """What a failed row says of its failure."""
    return {"status": "failed", "error_code": code.value, "error_message": message}
