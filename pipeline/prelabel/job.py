"""PrelabelJob: `prelabel` and `cutout` as a job: plan, stages, finish."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from maskmill.pipeline.models.adaptation import check_class_count
from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.models.weights.staging import local_weights, stage_weights
from maskmill.pipeline.models.worker_facts import WorkerFacts, agreed_facts, describe_worker
from maskmill.pipeline.prelabel.documents import BLOCKS_FOLDER, write_documents
from maskmill.pipeline.prelabel.inputs import MAX_FILE_BYTES
from maskmill.pipeline.prelabel.load import LoadImages
from maskmill.pipeline.prelabel.plan import (
    REMEDIES,
    ROWS,
    PrelabelPlan,
    beside_masks,
    blocks_for_gpus,
    default_group_size,
    plan_prelabel,
    resolved_identity,
)
from maskmill.pipeline.prelabel.predict import PredictMasks, WorkerSettings
from maskmill.pipeline.prelabel.save import Provenance, SavePrelabels
from maskmill.pipeline.prelabel.settings import PrelabelSettings
from maskmill.pipeline.prelabel.videos import FOLDER, write_videos
from maskmill.pipeline.prelabel.writers.registry import FINISHERS, SIDE_TABLES
from maskmill.pipeline.runs.attempts import FIRST_STAGE
from maskmill.pipeline.runs.commit import CommitSaved
from maskmill.pipeline.runs.identity import settings_fingerprint_of
from maskmill.pipeline.runs.layout import SHARDS, RunLayout
from maskmill.pipeline.runs.record import RunRecord, tool_version
from maskmill.pipeline.runs.shards import sweep_shards
from maskmill.pipeline.runs.stages import Opened, Stage, Workers
from maskmill.pipeline.selection.feature_table import NAME as FEATURES
from maskmill.pipeline.selection.skipping import TABLE as SKIPPED
from maskmill.schemas.errors import MaskmillError

LOAD_MS, SAVE_MS = 4.25, 5.75
"""Of a core for a picture of 640x480, Ray's part included (docs/benchmarks.md): where GPUs do the
rest, cores are split between the two so."""


@dataclass(frozen=True)
class PrelabelJob:
    """A labelling run; ``command`` is what the user called it by."""

    settings: PrelabelSettings
    command: str = "prelabel"

    noun = "images"
    table = ROWS
    remedies = REMEDIES
    local_items = 2000
    """Up to so many pending images this process is done before Ray is; see docs/engines.md."""

    @cached_property
    def layout(self) -> RunLayout:
        """The run folder."""
        return RunLayout(self.settings.out)

    def plan(self, record: RunRecord | None) -> PrelabelPlan:
        """Source listed, model chosen; see :func:`plan_prelabel`."""
        return plan_prelabel(self.settings, self.layout, record)

    def needed_files(self, plan: PrelabelPlan) -> list[str]:
        """What ok rows must have written beside the mask."""
        return beside_masks(plan)

    def resolve(self, plan: PrelabelPlan, workers: Workers) -> PrelabelPlan:
        """The plan with device, precision and group size: an earlier start's, or the machine's.

        Raises:
            MaskmillError: what a worker found wrong with model, weights or precision.
            SettingsError: the label map does not fit the network.
        """
        facts = self._facts(plan, workers)
        if facts.device == "cuda":
            plan = blocks_for_gpus(plan, self.settings)
        group = self._group_size(plan, facts.device)
        inputs = {"inputs": plan.inputs_listed.identity()}
        resolved = resolved_identity(
            device=facts.device,
            precision=facts.precision,
            group_size=group,
            torch_version=facts.torch_version,
            gpu=facts.gpu,
        )
        return replace(
            plan,
            identity={**plan.identity, **inputs, **resolved},
            facts={**plan.facts, "workers": _told(facts)},
            fitting_group=facts.fitting_group,
            graphs=facts.graphs,
            notes=(*facts.notes, *_memory_notes(facts, group)),
        )

    def on_gpu(self, plan: PrelabelPlan) -> bool:
        """Whether the network of a resolved plan runs on GPUs."""
        return bool(plan.identity["device"] == "cuda")

    def stages(self, plan: PrelabelPlan, session: str) -> Sequence[Stage]:
        """Load, predict, save."""
        network = self._network(plan)
        predict = partial(PredictMasks, layout=self.layout, session=session, settings=network)
        save = CommitSaved(layout=self.layout, table=ROWS, save=self._save(plan, session))
        return (
            Stage(name=FIRST_STAGE, open=Opened(self._load(plan, session)), cost=LOAD_MS),
            Stage(name="predict", open=predict, holds_network=True),
            Stage(name="save", open=Opened(save), cost=SAVE_MS),
        )

    def finish(
        self, plan: PrelabelPlan, record: RunRecord, workers: Workers, *, is_fresh: bool
    ) -> dict[str, str]:
        """Documents from the committed rows; where everything lies, by name."""
        plan.inputs_listed.rest.put(self.layout)  # the source may hold more copies than before
        if is_fresh:
            record.info = {
                "description": "semantic segmentation pre-labels",
                "contributor": f"maskmill {tool_version()}",
                **record.model,
                "fingerprint": record.fingerprint,
            }
            sweep_shards(self.layout)
        record.settings["coco"] = plan.coco  # it may be asked for when all is done
        labels = plan.choice.labels
        write_documents(self.layout, plan.coco, labels, record.info, is_fresh=is_fresh)
        left_out = plan.inputs_listed.rest.num_skipped
        skipped = {"skipped": self.layout.path(SKIPPED)} if left_out else {}
        rows = {"rows": self.layout.path(self.layout.metadata) + "/"}
        return {**self._places(plan), **self._videos(plan, is_fresh), **rows, **skipped}

    def _places(self, plan: PrelabelPlan) -> dict[str, str]:
        """Where files and documents are, by name."""
        folders = {one.spec.name: one.spec.folder for one in plan.outputs_used}
        if plan.store == "shards":
            folders = {SHARDS: SHARDS}
        folders |= {name: SIDE_TABLES[name].folder for name in plan.side_tables}
        if plan.coco == "blocks":
            folders["coco"] = BLOCKS_FOLDER
        places = {name: self.layout.path(folder) + "/" for name, folder in folders.items()}
        if plan.coco == "one":
            places |= {name: self.layout.path(spec.path) for name, spec in FINISHERS.items()}
        return places

    def _videos(self, plan: PrelabelPlan, is_fresh: bool) -> dict[str, str]:
        """Videos of the masks where they are asked for, or were and rows have changed since."""
        if not self.settings.writes_video and not self.layout.exists(FOLDER):
            return {}
        write_videos(
            self.layout, plan.choice.labels, max_pixels=self.settings.max_pixels, again=is_fresh
        )
        return {"videos": self.layout.path(FOLDER) + "/"}

    def _facts(self, plan: PrelabelPlan, workers: Workers) -> WorkerFacts:
        choice, began = plan.choice, plan.began
        if workers.elsewhere:
            stage_weights(self.layout, choice.weights_path)
        device = began.get("device") or (None if workers.has_gpu else "cpu")
        precision = self.settings.precision
        if precision == "auto":
            precision = began.get("precision", "auto")
        question = partial(
            describe_network,
            self.layout,
            choice.spec,
            choice.weights_path,
            device=device,
            precision=precision,
            untrained=self.settings.untrained,
            group_size=self._group_size(plan, device or "cuda"),
            image_size=self.settings.image_size,
            views=self.settings.views,
            graphs=workers.own_processes,
        )
        on_gpu = workers.has_gpu and device != "cpu"
        found = agreed_facts(workers.ask_each(question) if on_gpu else [workers.ask(question)])
        check_class_count(found.num_classes, choice.labels)
        return found

    def _group_size(self, plan: PrelabelPlan, device: str) -> int:
        asked: int | None = self.settings.batch_size or plan.began.get("group_size")
        return asked or default_group_size(device, plan.choice.spec.preprocessing)

    def _load(self, plan: PrelabelPlan, session: str) -> LoadImages:
        return LoadImages(
            layout=self.layout,
            session=session,
            preprocessing=plan.choice.spec.preprocessing,
            alignment=plan.choice.spec.alignment,
            image_size=self.settings.image_size,
            views=self.settings.views,
            max_pixels=self.settings.max_pixels,
            max_bytes=MAX_FILE_BYTES,
            fingerprints=FEATURES in plan.side_tables,
            exact_decode=self.settings.exact_decode,
        )

    def _network(self, plan: PrelabelPlan) -> WorkerSettings:
        return WorkerSettings(
            spec=plan.choice.spec,
            weights_path=plan.choice.weights_path,
            weights_sha256=plan.choice.weights_sha256,
            untrained=self.settings.untrained,
            device=plan.identity["device"],
            precision=plan.identity["precision"],
            threads=self.settings.threads_per_worker,
            group_size=plan.identity["group_size"],
            fitting_group=plan.fitting_group,
            gpu=plan.identity.get("gpu"),
            flip=self.settings.flip,
            features=FEATURES in plan.side_tables,
            graphs=plan.graphs,
        )

    def _save(self, plan: PrelabelPlan, session: str) -> SavePrelabels:
        settings, choice = self.settings, plan.choice
        return SavePrelabels(
            layout=self.layout,
            session=session,
            labels=choice.labels,
            provenance=Provenance(
                model=choice.title,
                weights_sha256=choice.weights_sha256,
                settings_fingerprint=settings_fingerprint_of(plan.identity),
                tool_version=tool_version(),
            ),
            views=settings.views,
            threshold=settings.threshold,
            segments_per=settings.segments,
            min_confidence=settings.min_confidence,
            min_area=settings.min_area,
            outputs=plan.outputs_used,
            store=plan.store,
            max_pixels=settings.max_pixels,
            max_bytes=MAX_FILE_BYTES,
            features=FEATURES in plan.side_tables,
        )


def describe_network(
    layout: RunLayout, spec: ModelSpec, weights: Path | None, **how: Any
) -> WorkerFacts | MaskmillError:
    """What a worker finds of the network; it may have to fetch the weights from the run folder.

    ``how`` are the other arguments of :func:`describe_worker`.
    """
    return describe_worker(spec, local_weights(layout, weights), **how)


def _told(facts: WorkerFacts) -> dict[str, Any]:
    """What run.json keeps of the workers beside the identity."""
    if facts.device == "cpu":
        return {}
    names = ("gpu", "driver", "fitting_group", "graphs")
    return {name: getattr(facts, name) for name in names}


def _memory_notes(facts: WorkerFacts, group: int) -> tuple[str, ...]:
    if facts.fitting_group is None or facts.fitting_group >= group:
        return ()
    return (
        f"the GPU's memory holds {facts.fitting_group} pictures at once, not {group}: they are "
        "computed in smaller groups, which their rows note, and with more memory the last bits may "
        f"differ; --batch-size {facts.fitting_group} in a new output folder makes that the rule",
    )
