"""The end of every Ray graph: blocks as they commit, and a broken run in words."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from jobs.machine_failures import machine_failure
from schemas.errors import RunFailed


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
