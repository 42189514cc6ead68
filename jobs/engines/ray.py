"""The Ray engine: stages as pools of processes, here or on the nodes of a cluster."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import ceil
from typing import Any

import click
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.jobs.engines.cluster import SPARE_CPUS, Cluster
from maskmill.jobs.engines.gpus import KIND_PREFIX
from maskmill.jobs.engines.nodes import (
    NodesChanged,
    NodeWatch,
    Question,
    recounted,
    refuse_blind,
    remember_executor,
)
from maskmill.jobs.engines.placement import holders_of, light_processes, pool
from maskmill.jobs.engines.room import rooms
from maskmill.jobs.engines.stage_process import StageProcess, retries_of, with_share_of_gpu
from maskmill.jobs.engines.worker_errors import explained
from maskmill.pipeline.runs.attempts import release_all
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.stages import Stage
from maskmill.pipeline.storage.retries import RETRIES
from maskmill.schemas.errors import RunFailed, SettingsError

ONE_BLOCK = {"batch_size": 1, "batch_format": "pyarrow"}
"""What an operator is called with: one row, as an Arrow table."""

LIGHT_CPUS = 0.25
"""What a stage beside a GPU's network asks for: it takes a tenth of the network's time."""

GPU_IN_FLIGHT = 4
"""Blocks that a process with a GPU holds: one at work, the others there when it is done."""

GPU_CALLS = 3
"""Blocks at work in such a process: one at the network, one being unpacked and one packed."""

MOST_ASKED = 256
"""Workers whose facts are asked for at once; beyond, each looks at its own GPU when it starts."""

KIND_SHARE = 0.001
"""What Ray's own option takes of a node's resource that is named after its kind of GPU."""


class RayEngine:
    """A cluster, and how many processes may hold a network on it.

    Raises:
        SettingsError: a share of GPUs that no worker can have, or a share of none.
    """

    own_processes = True

    def __init__(
        self,
        cluster: Cluster,
        *,
        workers: int | None,
        gpus_per_worker: float | None,
        accelerator_type: str | None = None,
        layout: RunLayout | None = None,
    ) -> None:
        if gpus_per_worker is not None and not 0 <= gpus_per_worker <= 1:
            raise SettingsError(
                f"{gpus_per_worker:g} GPUs per worker: each uses one at most; give 0 to 1"
            )
        if gpus_per_worker and cluster.is_own and not cluster.gpus.count():
            raise SettingsError(
                f"--gpus-per-worker {gpus_per_worker:g}: Ray counts no GPU on this machine; leave "
                "it out to work on the cores"
            )
        self._cluster = cluster
        self._workers, self._gpus, self._kind = workers, gpus_per_worker, accelerator_type
        self._layout = layout
        self._question: Question | None = None

    @property
    def elsewhere(self) -> bool:
        """True on a cluster that was not started here."""
        return not self._cluster.is_own

    @property
    def has_gpu(self) -> bool:
        """True where the cluster has GPUs, or can start some, and they may be used.

        Where a share was asked for they are waited for, though the cluster shows none: an
        autoscaler starts nodes for whoever asks.
        """
        gpus = self._cluster.gpus
        return self._gpus != 0 and bool(gpus.count() or gpus.may_grow or self._gpus)

    def ask(self, function: Callable[..., Any], *arguments: Any, on_gpu: bool = False) -> Any:
        """Call the function in a process of the cluster.

        Raises:
            RunFailed: the cluster has no room for it, or died.
        """
        import ray

        share = self._share(on_gpu)
        self._await_room(LIGHT_CPUS, share)
        asker = ray.remote(num_cpus=LIGHT_CPUS, num_gpus=share)(with_share_of_gpu)
        answer = asker.remote(share, function, *arguments)
        import ray.data  # takes a second, which the worker spends on imports of its own

        return self.wait(lambda: ray.get(answer))

    def wait(self, call: Callable[[], Any], look: Callable[[], None] = lambda: None) -> Any:
        """What a long call gives; RunFailed where the cluster dies. ``look`` runs meanwhile."""
        return next(self._watched(lambda: iter([call()]), look))

    def failure(self) -> str | None:
        """Why the cluster is dead, or None."""
        return self._cluster.watch.failure

    def ask_each(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call the function with each share of a GPU that is free, all at the same time.

        Raises:
            SettingsError: GPUs of several kinds and none named, or none of the one named.
            RunFailed: the cluster has no room for it, or died.
        """
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        gpus, share = self._cluster.gpus, self._share(on_gpu=True)
        gpus.check(self._kind)
        count = min(self._workers or MOST_ASKED, max(1, gpus.workers(share, self._kind)))
        with rooms(self._needs(LIGHT_CPUS, share), count=count, failure=self.failure) as places:
            asked = [
                ray.remote(
                    num_cpus=LIGHT_CPUS,
                    num_gpus=share,
                    scheduling_strategy=PlacementGroupSchedulingStrategy(place),
                )(with_share_of_gpu).remote(share, function, *arguments)
                for place in places
            ]
            import ray.data  # takes a second, which the workers spend on imports of their own

            answers: list[Any] = next(self._watched(lambda: iter([ray.get(asked)])))
        return answers

    def admit(self, question: Question) -> None:
        """Ask each node that offers cores or GPUs, and those that join later.

        Raises:
            SettingsError: naming the nodes that cannot work, and why.
        """
        self._question = question
        for _ in self._watched(lambda: map(refuse_blind, [question])):
            pass

    def blocks(
        self, stages: Sequence[Stage], pending: pa.Table, *, on_gpu: bool = False
    ) -> Iterator[list[dict[str, Any]]]:
        """Do every row of a PENDING table; after each block, its TALLY rows.

        Where nodes leave a joined cluster, or come to it, what is left is begun anew.
        """
        left, done = pending, set[int]()
        while left.num_rows:
            nodes = NodeWatch(self._cluster, self._question)
            if self.elsewhere:  # after the watch has begun: who is gone since is missed by it
                self._cluster = recounted(self._cluster)
            try:
                for tally in self._layout_of(stages, left, nodes, on_gpu):
                    done.update(row["block"] for row in tally)
                    yield tally
                return
            except NodesChanged as change:
                left = left.filter(pc.invert(pc.is_in(left["block"], pa.array(done, pa.int64()))))
                if self._layout is not None and not change.lost:  # given up, and no death
                    release_all(self._layout, left["block"].to_pylist())
                click.echo(f"note: {change}; what is left is begun anew", err=True)
            finally:
                nodes.stop()

    def _layout_of(
        self, stages: Sequence[Stage], pending: pa.Table, nodes: NodeWatch, on_gpu: bool
    ) -> Iterator[list[dict[str, Any]]]:
        """The stages laid out over the cluster as it is now.

        A row is a whole block and stays one row to the end, so that a block is never split.

        Raises:
            NodesChanged: the cluster is another one now.
        """
        import ray.data

        share = self._share(on_gpu)
        holders = holders_of(
            self._cluster,
            wanted=self._workers,
            gpu_share=share,
            gpu_kind=self._kind,
            blocks=pending.num_rows,
            spare_cpus=SPARE_CPUS,  # with none Ray cannot cut the table, and waits for ever
        )
        self._await_room(0 if share else 1, share)
        dataset = ray.data.from_arrow(pending).repartition(target_num_rows_per_block=1)
        # A GPU must never wait: loading and saving have processes of their own. On cores there is
        # nothing to wait for, and a block that stays in one process is neither packed nor sent.
        for together in [[stage] for stage in stages] if share else [stages]:
            dataset = dataset.map_batches(
                StageProcess,
                fn_constructor_kwargs={"stages": tuple(together), "gpu_share": share},
                **self._placing(together[0], stages, holders, share),
                **ONE_BLOCK,
            )
        batches = {"batch_size": None, "batch_format": "pyarrow", "prefetch_batches": 0}
        executors = remember_executor(dataset)
        look = partial(nodes.check, blocks_left=pending.num_rows / holders)
        try:
            for table in self._watched(lambda: iter(dataset.iter_batches(**batches)), look):
                RETRIES.add(retries_of(table), 0)
                yield table.to_pylist()
        except NodesChanged:
            for executor in executors:
                executor.shutdown(force=True)
            raise

    def _placing(
        self, stage: Stage, stages: Sequence[Stage], holders: int, share: float
    ) -> dict[str, Any]:
        """How many processes do a stage, and what each keeps of the cluster."""
        if not share:
            return {"compute": pool(holders), "num_cpus": 1}
        own = self._cluster.gpus.cpus_of_worker(share)
        if stage.holds_network:
            kind = {"accelerator_type": self._kind} if self._kind else {}
            compute = pool(holders, in_flight=GPU_IN_FLIGHT, calls=GPU_CALLS)
            return {"compute": compute, "num_cpus": own, "num_gpus": share, **kind}
        left = self._cluster.cpus - SPARE_CPUS - ceil(own * holders)
        return {"compute": pool(light_processes(stage, stages, left)), "num_cpus": LIGHT_CPUS}

    def _share(self, on_gpu: bool) -> float:
        """GPUs of each process that holds a network."""
        return (1.0 if self._gpus is None else self._gpus) if on_gpu else 0.0

    def _await_room(self, cpus: float, gpus: float) -> None:
        """Nobody else is on a cluster of our own."""
        if not self._cluster.is_own:
            with rooms(self._needs(cpus, gpus), failure=self.failure):
                pass

    def _needs(self, cpus: float, gpus: float) -> dict[str, float]:
        """Resources of one process, as placement groups name them."""
        kind = {f"{KIND_PREFIX}{self._kind}": KIND_SHARE} if gpus and self._kind else {}
        return {**({"CPU": cpus} if cpus else {}), **({"GPU": gpus} if gpus else {}), **kind}

    def _watched(
        self, start: Callable[[], Iterator[Any]], look: Callable[[], None] = lambda: None
    ) -> Iterator[Any]:
        """What an iterator gives, read by a thread, so that a dead cluster does not hold us up.

        ``look`` is called now and then, and may raise.

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
            if kind in ("result", "nothing"):
                look()
            elif kind == "end":
                return
            elif kind == "error":
                raise explained(value) from value
