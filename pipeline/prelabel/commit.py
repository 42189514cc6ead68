"""CommitRows: the last step of a block. Its rows go to disk whole; the driver gets a tally."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.tables.blocks import TALLY


@dataclass(frozen=True, slots=True)
class CommitRows:
    """Saves a block, then commits its rows; only a committed block counts as done.

    One call does both, so that no engine can come between a block's files and its rows.
    """

    layout: RunLayout
    save: Callable[[pa.Table], pa.Table]

    def __call__(self, parcels: pa.Table) -> pa.Table:
        """A table of schema PARCEL in, one of schema TALLY out."""
        rows = self.save(parcels)
        for block in parcels["block"].to_pylist():
            self.layout.commit_block(block, rows.filter(pc.equal(rows["block"], block)))
            self.layout.delete(self.layout.attempts_path(block))
        return rows.select(TALLY.names).cast(TALLY)
