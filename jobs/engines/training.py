"""Training on a Ray cluster: the loop of pipeline/training in each worker of Ray Train."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from maskmill.jobs.engines.cluster import ANSWER_SECONDS
from maskmill.jobs.engines.lazy import LazyWorkers
from maskmill.jobs.engines.machine import shared_cores
from maskmill.jobs.engines.nodes import nodes_at_work
from maskmill.jobs.engines.ray import RayEngine
from maskmill.jobs.engines.room import rooms
from maskmill.jobs.engines.worker_errors import failure_of
from maskmill.pipeline.runs.stages import Workers
from maskmill.schemas.errors import RunFailed

if TYPE_CHECKING:
    from maskmill.pipeline.training.task import TrainingTask

STORAGE: Final = "work/ray"
"""Where Ray Train keeps its own notes; checkpoints are ours, beside it."""

MAX_FAILURES: Final = 5
"""So often workers may die before the run ends; every time all begin again at the checkpoint."""

_BUG: Final = "a worker hit a bug; the last checkpoint stays"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RayTrainer:
    """Trains by one worker or several, each on cores of its own or on its share of a GPU."""

    gpus_per_worker: float | None = None

    def __call__(self, task: "TrainingTask", workers: Workers, say: Say) -> None:
        """Train until the end; a worker that dies is replaced.

        Raises:
            RunFailed: no room on the cluster, training stopped before its end, or workers died
                too often.
        """
        import ray

        engine = _on_ray(workers)
        needs = self._needs(task, engine)
        if engine.elsewhere:
            self._check_room(needs, task.workers, engine)
        letters = ray.remote(num_cpus=0)(Letters).remote()
        reading = _Reading(letters, say)
        with _storage(task) as storage:
            trainer = self._trainer(task, needs, letters, storage)
            try:
                result = engine.wait(trainer.fit, reading.look)
            except ray.train.TrainingFailedError as error:
                reading.look()
                raise RunFailed(_gave_up(error)) from error
            except BaseException:
                reading.stop()  # what comes next reads the checkpoints
                raise
        reading.look()
        if not result.return_value:
            raise RunFailed("training stopped before its end; the same command again goes on")

    def threads(self, workers: Workers, count: int) -> int:
        """The cores of this machine shared, or as many as leave room for all on a cluster."""
        engine = _on_ray(workers)
        if not engine.elsewhere:
            return shared_cores(count)
        return threads_with_room(count, nodes_at_work(), self._gpu_share(engine.has_gpu))

    def _gpu_share(self, on_gpu: bool) -> float:
        return (self.gpus_per_worker or 1.0) if on_gpu else 0.0

    def _needs(self, task: "TrainingTask", engine: RayEngine) -> dict[str, float]:
        """Of one worker. On a cluster of our own nobody else counts cores."""
        share = self._gpu_share(task.device == "cuda")
        cores = float(task.threads if engine.elsewhere else 1)
        return {"CPU": cores, **({"GPU": share} if share else {})}

    @staticmethod
    def _check_room(needs: Mapping[str, float], count: int, engine: RayEngine) -> None:
        """Ray Train itself would wait for ever, and without a word."""
        with rooms(needs, count=count, failure=engine.failure) as places:
            if len(places) < count:
                each = " and ".join(f"{value:g} {name}" for name, value in needs.items())
                raise RunFailed(
                    f"the Ray cluster has room for {len(places)} of {count} workers, each with "
                    f"{each}: give fewer --workers or --threads in another output folder, or the "
                    "same command again when there is room"
                )

    def _trainer(
        self, task: "TrainingTask", needs: Mapping[str, float], letters: Any, storage: Any
    ) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        whole = needs.get("GPU", 0) == 1
        return TorchTrainer(
            train_share,
            train_loop_config={"task": task, "letters": letters},
            torch_config=TorchConfig(backend="nccl" if whole else "gloo"),  # nccl: a GPU each
            scaling_config=ScalingConfig(
                num_workers=task.workers,
                use_gpu="GPU" in needs,
                resources_per_worker=dict(needs),
            ),
            run_config=RunConfig(
                failure_config=FailureConfig(max_failures=MAX_FAILURES), **storage
            ),
        )


def _on_ray(workers: Workers) -> RayEngine:
    engine = workers.engine if isinstance(workers, LazyWorkers) else workers
    if not isinstance(engine, RayEngine):
        raise TypeError(f"{type(engine).__name__} is not on Ray")
    return engine


def threads_with_room(
    count: int, nodes: Sequence[Mapping[str, float]], gpu_share: float = 0.0
) -> int:
    """The most threads, a core each, that leave room for ``count`` workers; 1 where there is none.

    Args:
        count: of the workers, none of which is on two nodes.
        nodes: what each offers: ``CPU`` and ``GPU``, as Ray counts them.
        gpu_share: of one GPU, which each worker takes as well.
    """

    def room(node: Mapping[str, float], threads: int) -> int:
        by_cores = int(node.get("CPU", 0) // threads)
        if not gpu_share:
            return by_cores
        return min(by_cores, int(node.get("GPU", 0)) * int(1 / gpu_share + 1e-9))

    most = int(max((node.get("CPU", 0) for node in nodes), default=1))
    fitting = (one for one in range(most, 1, -1) if sum(room(n, one) for n in nodes) >= count)
    return next(fitting, 1)


def train_share(config: Mapping[str, Any]) -> str:
    """What each worker of Ray Train does: the loop, from the last checkpoint; why it ended.

    Where it ends by a sentence, that is put into a letter first: a new start that finds it there
    ends at once, and so does the training.
    """
    import ray

    from maskmill.jobs.training import StepLines, announcement
    from maskmill.pipeline.models.torch_settings import exact_settings
    from maskmill.pipeline.training.loop import Training
    from maskmill.pipeline.training.pace import estimated_seconds
    from maskmill.pipeline.training.peers import Alone, Group

    task, letters = config["task"], config["letters"]
    if ray.get(letters.begin.remote(ray.get_runtime_context().current_actor)):
        return ""
    peers = Group() if task.workers > 1 else Alone()

    def post(kind: str, content: Any) -> None:
        if peers.rank == 0:
            letters.post.remote(kind, content)

    try:
        with exact_settings(task.threads):
            training = Training(task, peers)
            if not training.progress.ended:
                seconds = estimated_seconds(training)
                post("note", announcement(task, training.progress.step, seconds))
            lines = StepLines(task.steps, training.progress.step, lambda text: post("line", text))
            return training.run(lines).ended
    except RuntimeError:
        raise  # a peer that died, or a device: begun again
    except Exception as error:
        ray.get(letters.post.remote("end", error))
        raise


class Letters:
    """What workers have to say, until the driver comes for it; an actor."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, Any]] = []
        self._workers: list[Any] = []
        self._has_ended = False

    def begin(self, worker: Any) -> bool:
        """Note a worker; whether all has ended already, by an exception of a worker's own."""
        self._workers.append(worker)
        return self._has_ended

    def post(self, kind: str, content: Any) -> None:
        """Kinds: ``note`` and ``line`` for people, ``end`` for an exception that ends it all."""
        self._has_ended |= kind == "end"
        self._waiting.append((kind, content))

    def take(self) -> list[tuple[str, Any]]:
        """All that was posted since the last time."""
        taken, self._waiting = self._waiting, []
        return taken

    def stop(self) -> list[Any]:
        """The workers that have begun; those that still come end at once."""
        self._has_ended = True
        return self._workers


class _Reading:
    """The driver's side of the letters."""

    def __init__(self, letters: Any, say: Say) -> None:
        self._letters, self._say = letters, say

    def look(self) -> None:
        """Say what there is to be said.

        Raises:
            MaskmillError: that a worker ended by.
            RunFailed: a worker hit a bug, or its machine failed.
        """
        import ray

        try:
            letters = ray.get(self._letters.take.remote(), timeout=ANSWER_SECONDS)
        except ray.exceptions.GetTimeoutError:
            return  # a cluster that is gone is told by its watch; an end is told by the result
        for kind, content in letters:
            if kind == "end":
                raise failure_of(content, f"{_BUG}\n{content!r}")
            if kind == "note":
                self._say(content)
            else:
                click.echo(content, err=True)

    def stop(self) -> None:
        """End the workers, as far as the cluster still answers."""
        import ray

        with suppress(ray.exceptions.RayError):
            for worker in ray.get(self._letters.stop.remote(), timeout=ANSWER_SECONDS):
                ray.kill(worker)


def _gave_up(error: BaseException) -> str:
    failures = getattr(error, "worker_failures", None) or {}
    reasons = [str(one).strip().rpartition("\n")[2] for one in failures.values()]
    told = "; ".join(dict.fromkeys(reasons)) or str(error).strip().partition("\n")[0]
    return (
        f"workers died more than {MAX_FAILURES} times: {told}. The last checkpoint stays: the same "
        "command again goes on from it"
    )


@contextmanager
def _storage(task: "TrainingTask") -> Iterator[dict[str, Any]]:
    """A folder below OUT for Ray Train's notes, gone afterwards; never in the user's home."""
    layout = task.layout
    try:
        yield {
            "name": uuid.uuid4().hex,
            "storage_path": layout.path(STORAGE),
            "storage_filesystem": layout.filesystem,
        }
    finally:
        layout.clear(STORAGE)
