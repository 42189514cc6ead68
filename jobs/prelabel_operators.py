"""From a plan and what the workers say of themselves to the operators of the graph."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskmill.jobs.prelabel_config import MAX_FILE_BYTES
from maskmill.jobs.prelabel_graph import PrelabelGraph
from maskmill.jobs.prelabel_plan import Plan
from maskmill.jobs.runtime import SPARE_CPUS, Capacity, ask_worker, check_workers, default_workers
from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.models.weights.staging import local_weights, stage_weights
from maskmill.pipeline.models.worker_facts import WorkerFacts, describe_worker
from maskmill.pipeline.prelabel.load import LoadImages
from maskmill.pipeline.prelabel.predict import WorkerSettings
from maskmill.pipeline.prelabel.save import Provenance, SavePrelabels
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import settings_fingerprint_of, tool_version
from maskmill.schemas.errors import MaskmillError, SettingsError

GPU_GROUP = 8
"""Images per forward on a GPU unless asked otherwise; on a CPU groups of one are the fastest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The workers of a session."""

    workers: int
    gpus_per_worker: float
    tasks: int = 1  # loading ones at a time, and as many saving ones


def pool_of(plan: Plan, capacity: Capacity, blocks: int) -> Pool:
    """How many workers, with how many GPUs each; none that would find no block to do.

    Raises:
        SettingsError: more than the cluster has room for.
    """
    asked = plan.config.gpus_per_worker
    gpus = (1.0 if capacity.gpus else 0.0) if asked is None else asked
    workers = plan.config.workers or default_workers(capacity, gpus)
    check_workers(workers, gpus, capacity)
    workers = min(workers, max(1, blocks))  # an idle one costs half a gigabyte and its start
    # Loading and saving take a tenth of a CPU worker's time; beside GPUs they are the limit.
    tasks = max(1, capacity.cpus - SPARE_CPUS) if gpus else max(1, workers // 2)
    return Pool(workers=workers, gpus_per_worker=gpus, tasks=tasks)


def ask_facts(plan: Plan, pool: Pool) -> WorkerFacts:
    """What a worker is; the weights are loaded there once, so that a misfit is said before the run.

    Raises:
        MaskmillError: what the worker found wrong with model, weights or precision.
        SettingsError: the label map does not fit the network.
    """
    choice = plan.choice
    if plan.config.address:
        stage_weights(plan.layout, choice.weights_path)
    facts: WorkerFacts | MaskmillError = ask_worker(
        _describe_worker,
        plan.layout,
        choice.spec,
        choice.weights_path,
        plan.config.precision,
        plan.config.untrained,
        num_gpus=pool.gpus_per_worker,
    )
    if isinstance(facts, MaskmillError):
        raise facts
    wanted = len(choice.labels.classes)
    fitting = (1, 2) if wanted == 2 else (wanted,)  # one channel says "is it or not" of two
    if facts.num_classes not in fitting or wanted == 1:
        raise SettingsError(
            f"the network has {facts.num_classes} classes and label map {choice.labels.name!r} has "
            f"{wanted}: give the right one with --labels (for one class, background and that class)"
        )
    return facts


def _describe_worker(
    layout: RunLayout, spec: ModelSpec, weights: Path | None, precision: str, untrained: bool
) -> WorkerFacts | MaskmillError:
    return describe_worker(spec, local_weights(layout, weights), precision, untrained)


def full_identity(plan: Plan, facts: WorkerFacts) -> dict[str, Any]:
    """The plan's identity with what only the workers know."""
    group = plan.config.batch_size or (GPU_GROUP if facts.device == "cuda" else 1)
    return {
        **plan.identity,
        "device": facts.device,
        "precision": facts.precision,
        "group_size": group,
        "torch": facts.torch_version,
    }


def build_graph(plan: Plan, identity: dict[str, Any], pool: Pool, session: str) -> PrelabelGraph:
    """The operators of this session."""
    return PrelabelGraph(
        layout=plan.layout,
        session=session,
        workers=pool.workers,
        gpus_per_worker=pool.gpus_per_worker,
        tasks=pool.tasks,
        load=_load_operator(plan, session),
        predict=_worker_settings(plan, identity),
        save=_save_operator(plan, identity, session),
    )


def _load_operator(plan: Plan, session: str) -> LoadImages:
    return LoadImages(
        layout=plan.layout,
        session=session,
        preprocessing=plan.choice.spec.preprocessing,
        alignment=plan.choice.spec.alignment,
        image_size=plan.config.image_size,
        views=plan.config.views(),
        max_pixels=plan.config.max_pixels,
        max_bytes=MAX_FILE_BYTES,
    )


def _worker_settings(plan: Plan, identity: dict[str, Any]) -> WorkerSettings:
    return WorkerSettings(
        spec=plan.choice.spec,
        weights_path=plan.choice.weights_path,
        weights_sha256=plan.choice.weights_sha256,
        untrained=plan.config.untrained,
        device=identity["device"],
        precision=identity["precision"],
        threads=plan.config.threads_per_worker,
        group_size=identity["group_size"],
        flip=plan.config.flip,
    )


def _save_operator(plan: Plan, identity: dict[str, Any], session: str) -> SavePrelabels:
    config, choice = plan.config, plan.choice
    return SavePrelabels(
        layout=plan.layout,
        session=session,
        labels=choice.labels,
        provenance=Provenance(
            model=choice.title,
            weights_sha256=choice.weights_sha256,
            settings_fingerprint=settings_fingerprint_of(identity),
            tool_version=tool_version(),
        ),
        views=config.views(),
        threshold=config.threshold,
        segments_per=config.segments,
        min_confidence=config.min_confidence,
        min_area=config.min_area,
        writers=config.writers,
        own_writers=config.own_writers(),
        max_pixels=config.max_pixels,
        max_bytes=MAX_FILE_BYTES,
    )
