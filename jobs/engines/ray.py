"""The Ray engine: stages as pools of processes, here or on the nodes of a cluster."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from multiprocessing.pool import ThreadPool
from typing import Any

import pyarrow as pa

from maskmill.jobs.engines.cluster import SPARE_CPUS, Cluster
from maskmill.jobs.engines.room import await_room
from maskmill.jobs.machine_failures import machine_failure
from maskmill.pipeline.runs.attempts import all_stages_here
from maskmill.pipeline.runs.isolation import name_node, spread_over
from maskmill.pipeline.runs.stages import Stage
from maskmill.pipeline.storage.retries import RETRIES
from maskmill.schemas.errors import MaskmillError, RunFailed, SettingsError

ONE_BLOCK = {"batch_size": 1, "batch_format": "pyarrow"}
"""What an operator is called with: one row, as an Arrow table."""

LIGHT_CPUS = 0.25
"""What a stage beside a GPU's network asks for: it takes a tenth of the network's time."""

_RETRIES = b"retries"

STORAGE_THREADS = 4
"""Items of a block that a process reads or writes at once."""


class RayEngine:
    """A cluster, and how many processes may hold a network on it.

    Raises:
        SettingsError: a share of GPUs that no worker can have.
    """

    def __init__(
        self, cluster: Cluster, *, workers: int | None, gpus_per_worker: float | None
    ) -> None:
        if gpus_per_worker is not None and not 0 <= gpus_per_worker <= 1:
            raise SettingsError(
                f"{gpus_per_worker:g} GPUs per worker: each uses one at most; give 0 to 1"
            )
        self._cluster = cluster
        self._workers, self._gpus = workers, gpus_per_worker

    @property
    def elsewhere(self) -> bool:
        """True on a cluster that was not started here."""
        return not self._cluster.is_own

    @property
    def has_gpu(self) -> bool:
        """True where the cluster counts GPUs and they may be used."""
        return self._cluster.gpus > 0 and self._gpus != 0

    def ask(self, function: Callable[..., Any], *arguments: Any, on_gpu: bool = False) -> Any:
        """Call the function in a process of the cluster.

        Raises:
            RunFailed: the cluster has no room for it, or died.
        """
        import ray

        self._await_room(LIGHT_CPUS, self._share(on_gpu))
        options = {"num_cpus": LIGHT_CPUS, "num_gpus": self._share(on_gpu)}
        answer = ray.remote(**options)(function).remote(*arguments)
        import ray.data  # takes a second, which the worker spends on imports of its own

        return self._watched(lambda: iter([ray.get(answer)])).__next__()

    def blocks(
        self, stages: Sequence[Stage], pending: pa.Table, *, on_gpu: bool = False
    ) -> Iterator[list[dict[str, Any]]]:
        """Do every row of a PENDING table; after each block, its TALLY rows.

        A row is a whole block and stays one row to the end, so that a block is never split.
        """
        import ray.data

        share = self._share(on_gpu)
        has_network = any(one.holds_network for one in stages)
        holders = holders_of(
            self._cluster,
            wanted=self._workers,
            gpu_share=share,
            blocks=pending.num_rows,
            spare_cpus=SPARE_CPUS if has_network or self._cluster.is_own else 0,
        )
        self._await_room(0 if share else 1, share)
        dataset = ray.data.from_arrow(pending).repartition(target_num_rows_per_block=1)
        # A GPU must never wait: loading and saving have processes of their own. On cores there is
        # nothing to wait for, and a block that stays in one process is neither packed nor sent.
        for together in [[stage] for stage in stages] if share else [stages]:
            light = bool(share) and not together[0].holds_network
            dataset = dataset.map_batches(
                StageProcess,
                fn_constructor_kwargs={"stages": tuple(together), "all_here": not share},
                compute=_pool(max(1, self._cores // 2) if light else holders),
                num_cpus=LIGHT_CPUS if light else 0 if share else 1,
                num_gpus=0 if light else share,
                **ONE_BLOCK,
            )
        batches = {"batch_size": None, "batch_format": "pyarrow", "prefetch_batches": 0}
        for table in self._watched(lambda: iter(dataset.iter_batches(**batches))):
            RETRIES.add(_retries_of(table), 0)
            yield table.to_pylist()

    @property
    def _cores(self) -> int:
        return max(1, self._cluster.cpus - SPARE_CPUS)

    def _share(self, on_gpu: bool) -> float:
        """GPUs of each process that holds a network."""
        return (1.0 if self._gpus is None else self._gpus) if on_gpu else 0.0

    def _await_room(self, cpus: float, gpus: float) -> None:
        """Nobody else is on a cluster of our own."""
        if not self._cluster.is_own:
            await_room(cpus=cpus, gpus=gpus, failure=lambda: self._cluster.watch.failure)

    def _watched(self, start: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """What an iterator gives, read by a thread, so that a dead cluster does not hold us up.

        Raises:
            RunFailed: the cluster died, the machine failed, or a stage hit a bug.
        """
        results: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

        def read() -> None:
            try:
                for result in start():
                    results.put(("result", result))
                results.put(("end", None))
            except BaseException as error:
                results.put(("error", error))

        threading.Thread(target=read, daemon=True).start()
        while True:
            try:
                kind, value = results.get(timeout=0.5)
            except queue.Empty:
                kind, value = "nothing", None
            if self._cluster.watch.failure and kind != "result":
                raise RunFailed(self._cluster.watch.failure)
            if kind == "result":
                yield value
            elif kind == "end":
                return
            elif kind == "error":
                raise _explained(value) from value


def holders_of(
    cluster: Cluster, *, wanted: int | None, gpu_share: float, blocks: int, spare_cpus: int
) -> int:
    """How many processes do the heavy stage; none that would find no block to do.

    Args:
        cluster: what there is.
        wanted: what the user asked for, None for as many as there is room for.
        gpu_share: GPUs of each, 0 for a core each.
        blocks: how many there are to do.
        spare_cpus: what is kept for the light stages.

    Raises:
        SettingsError: more than the cluster has room for, which would wait for ever.
    """
    cores = max(1, cluster.cpus - spare_cpus)
    # A share lies on one GPU: two GPUs hold four workers of 0.4, and not five.
    room = int(cluster.gpus) * int(1 / gpu_share + 1e-9) if gpu_share else cores
    if wanted is not None and wanted > max(1, room):
        has = f"{cluster.gpus:g} GPUs" if gpu_share else f"{cores} cores"
        raise SettingsError(
            f"{wanted} workers are too many: there are {has}, enough for {room}; "
            "lower --workers or --gpus-per-worker"
        )
    return min(wanted or max(1, room), max(1, blocks))


class StageProcess:
    """One process of a stage, or of several: opened once, then called with block after block.

    Stages without a network spread the items of a block over a few threads, which wait for storage
    side by side.
    """

    def __init__(self, stages: Sequence[Stage], *, all_here: bool = False) -> None:
        import ray

        self._through = all_stages_here if all_here else nullcontext

        name_node(ray.get_runtime_context().get_node_id()[:12])
        threads = ThreadPool(STORAGE_THREADS)
        self._steps = [(stage.open(), None if stage.holds_network else threads) for stage in stages]

    def __call__(self, table: pa.Table) -> pa.Table:
        """One block through the stages; the table tells how often storage was asked again."""
        retries = _retries_of(table) - RETRIES.retries
        with self._through():
            for operator, threads in self._steps:
                with spread_over(threads) if threads else nullcontext():
                    table = operator(table)
        return table.replace_schema_metadata({_RETRIES: str(retries + RETRIES.retries)})


def _retries_of(table: pa.Table) -> int:
    return int((table.schema.metadata or {}).get(_RETRIES, 0))


def _pool(size: int) -> Any:
    """A fixed number of processes, each with one block at work and one waiting.

    Fixed, so that memory does not grow by processes that Ray starts when it thinks it needs them.
    """
    from ray.data import ActorPoolStrategy

    return ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2)


def _explained(error: BaseException) -> BaseException:
    import ray.exceptions

    if not isinstance(error, ray.exceptions.RayError):
        return error
    # Only of a task's failure: the cause comes as it was raised (cluster.py asks for it).
    cause = getattr(error, "cause", None)
    if isinstance(cause, MaskmillError):
        return cause
    sentence = machine_failure(cause)
    return RunFailed(sentence or f"a worker hit a bug; what is committed stays\n{error}")
