"""Both ends of every Ray graph: pending blocks one by one, and their tallies as they commit."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from maskmill.jobs.machine_failures import machine_failure
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.errors import RunFailed

ONE_BLOCK = {"batch_size": 1, "batch_format": "pyarrow"}
"""What an operator is called with: one row of the work table, as an Arrow table."""


def pending_blocks(layout: RunLayout, work: str) -> Any:
    """A Ray Dataset over the work table at ``work``, relative to the run's root.

    A row of the table is a whole block and stays one row to the end, so that a block is never
    split, whatever its size.
    """
    import ray.data

    return ray.data.read_parquet(layout.path(work), filesystem=layout.filesystem).repartition(
        target_num_rows_per_block=1
    )


def committed_blocks(tallies: Any) -> Iterator[pa.Table]:
    """Execute a Ray Dataset; after each committed block, its tally.

    Raises:
        RunFailed: a worker met a full disk or a lost network, or hit a bug.
    """
    import ray.exceptions

    try:
        yield from tallies.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    except ray.exceptions.RayError as error:
        # Only of a task's failure: the cause comes as it was raised (jobs/runtime.py asks for it).
        sentence = machine_failure(getattr(error, "cause", None))
        if sentence:
            raise RunFailed(sentence) from error
        raise RunFailed(f"a worker hit a bug; what is committed stays\n{error}") from error
