"""CommitAudits: a block of pairs audited, and its rows committed in one piece."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from maskmill.pipeline.audit.operator import AuditPairs
from maskmill.pipeline.audit.pair import Row
from maskmill.pipeline.runs.attempts import IMAGE_DEATHS, BlockAttempt, begin_stage
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.errors import ErrorCode
from maskmill.schemas.tables.audit import AUDIT
from maskmill.schemas.tables.blocks import TALLY


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitAudits:
    """Audits every pair of a block, then commits the block's rows; the driver gets a tally.

    A pair that kills its worker becomes a failed row, once it was found out by working on the
    pairs of its block one at a time (see attempts.py).
    """

    layout: RunLayout
    session: str
    audit: AuditPairs

    def __call__(self, work: pa.Table) -> pa.Table:
        """A table of schema WORK in, one of schema TALLY out."""
        return pa.concat_tables([self._audit_block(row) for row in work.to_pylist()])

    def _audit_block(self, row: Row) -> pa.Table:
        block = row["block"]
        attempt = begin_stage(self.layout, block, "load", self.session)
        found = self.audit.rows(self._alive(row["pairs"], attempt))
        rows = [{**one, "attempts": attempt.starts} for one in found]
        attempt.finish()
        table = pa.Table.from_pylist(rows, schema=AUDIT)
        self.layout.commit_block(block, table, schema=AUDIT, key="pair_id")
        self.layout.delete(self.layout.attempts_path(block))
        return pa.Table.from_pylist([{**one, "block": block} for one in rows], schema=TALLY)

    def _alive(self, pairs: list[Row], attempt: BlockAttempt) -> Iterator[Row]:
        """The pairs one by one, each noted before it is looked at; deadly ones as failures."""
        for pair in pairs:
            if attempt.is_deadly(pair["pair_id"]):
                yield {**pair, **_worker_died(pair["key"])}
            else:
                attempt.mark(pair["pair_id"])
                yield pair


def _worker_died(key: str) -> Row:
    message = (
        f"{key}: the worker process died {IMAGE_DEATHS} times while it worked on this pair alone; "
        "check both masks and the machine's memory, then --retry-failed"
    )
    return {"error_code": ErrorCode.WORKER_DIED.value, "error_message": message}
