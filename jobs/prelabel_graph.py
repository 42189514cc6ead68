"""The Ray graph of `prelabel`, on one page: manifest -> load -> predict -> save -> Parquet."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from maskmill.jobs import block_graph
from maskmill.jobs.runtime import TASK_CPUS, actor_pool, task_pool
from maskmill.pipeline.prelabel.commit import CommitRows
from maskmill.pipeline.prelabel.load import LoadImages
from maskmill.pipeline.prelabel.predict import PredictMasks, WorkerSettings
from maskmill.pipeline.prelabel.save import SavePrelabels
from maskmill.pipeline.runs.layout import RunLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class PrelabelGraph:
    """The operators of one session, and how many workers hold the network."""

    layout: RunLayout
    session: str
    load: LoadImages
    predict: WorkerSettings
    save: SavePrelabels
    workers: int
    gpus_per_worker: float
    tasks: int  # loading ones at a time, and as many saving ones

    def run(self) -> Iterator[list[dict[str, Any]]]:
        """Do all pending work; after each committed block, its tally (schema TALLY) as dicts.

        Loading and saving are tasks, prediction a fixed pool of actors; Ray keeps them apart
        because they ask for different resources.
        """
        tasks = {**block_graph.ONE_BLOCK, "num_cpus": TASK_CPUS, "compute": task_pool(self.tasks)}
        tallies = (
            block_graph.pending_blocks(self.layout, self.layout.pending)
            .map_batches(self.load, **tasks)
            .map_batches(
                PredictMasks,
                fn_constructor_kwargs={
                    "layout": self.layout,
                    "session": self.session,
                    "settings": self.predict,
                },
                compute=actor_pool(self.workers),
                num_cpus=0 if self.gpus_per_worker else 1,
                num_gpus=self.gpus_per_worker,
                **block_graph.ONE_BLOCK,
            )
            .map_batches(CommitRows(self.layout, self.save), **tasks)
        )
        for table in block_graph.committed_blocks(tallies):
            yield table.to_pylist()
