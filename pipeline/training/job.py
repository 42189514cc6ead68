"""FinetuneJob: `finetune` as a job. Its rows are the samples, looked at; its finish is training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

from maskmill.pipeline.convert.conversion import ConversionRequest
from maskmill.pipeline.models.choice import ModelChoice
from maskmill.pipeline.models.model_folder import CARD
from maskmill.pipeline.models.weights.staging import stage_weights
from maskmill.pipeline.models.worker_facts import WorkerFacts
from maskmill.pipeline.prelabel.job import describe_network
from maskmill.pipeline.runs.attempts import FIRST_STAGE
from maskmill.pipeline.runs.commit import CommitItems
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.plan import Plan
from maskmill.pipeline.runs.record import RunRecord
from maskmill.pipeline.runs.rows import RowTable
from maskmill.pipeline.runs.stages import Opened, Stage, Workers
from maskmill.pipeline.training.class_weights import class_weights
from maskmill.pipeline.training.defaults import (
    default_batch_norm,
    default_crop,
    default_epochs,
    default_rate,
    default_size,
    default_warm_up,
)
from maskmill.pipeline.training.events import EVENTS, check_events
from maskmill.pipeline.training.pairs import PairReader
from maskmill.pipeline.training.plan import (
    FinetunePlan,
    ModelWanted,
    Split,
    check_counts,
    plan_finetune,
)
from maskmill.pipeline.training.recipe import Recipe
from maskmill.pipeline.training.samples import TRAIN, VALIDATE, Census, CheckSamples, census
from maskmill.pipeline.training.task import TrainingTask
from maskmill.schemas.errors import MaskmillError
from maskmill.schemas.labels import LabelMap
from maskmill.schemas.tables.finetune import SAMPLES

if TYPE_CHECKING:
    from maskmill.pipeline.training.result import Reporter

ROWS = RowTable(schema=SAMPLES)

REMEDIES = {
    "inputs": "The data has changed since this run began: choose another output folder.",
    "model": "Another model needs another output folder.",
    "weights_sha256": "Other weights need another output folder.",
    "device": "Finish the run on the kind of device it began on, or choose another output folder.",
    "threads": "Another number of threads adds in another order: choose another output folder.",
    "workers": "Another number of workers adds in another order: choose another output folder.",
}

Say = Callable[[str], None]


class Trainer(Protocol):
    """Who trains: this process, or processes of Ray Train."""

    def __call__(self, task: TrainingTask, workers: Workers, say: Say) -> None:
        """Train until the end; what is told then lies in the run folder.

        Raises:
            RunFailed: training stopped before its end.
        """

    def threads(self, workers: Workers, count: int) -> int:
        """On how many threads each of ``count`` workers trains, where nobody says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """What a finished fine-tuning can tell: the folder of the model, its page, its model.json."""

    model: str
    report: str
    card: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class FinetuneJob:
    """A fine-tuning. ``workers`` train together, by ``trainer``; ``reporter`` makes its page."""

    request: ConversionRequest
    wanted: ModelWanted
    recipe: Recipe
    split: Split
    out: str
    trainer: Trainer
    reporter: "Reporter"
    say: Say
    workers: int = 1

    command = "finetune"
    noun = "samples"
    table = ROWS
    remedies = REMEDIES
    local_items = 10000

    @cached_property
    def layout(self) -> RunLayout:
        """The run folder."""
        return RunLayout(self.out)

    def plan(self, record: RunRecord | None) -> FinetunePlan:
        """Data looked through, model chosen; see :func:`plan_finetune`."""
        if EVENTS in self.recipe.write:
            check_events(self.layout)
        plan = plan_finetune(
            self.request, self.wanted, self.recipe, self.split, self.workers, record
        )
        return replace(plan, settings=self._settings(plan))

    def needed_files(self, plan: Plan) -> list[str]:
        """None: a sample is looked at, and nothing is written of it."""
        return []

    def resolve(self, plan: FinetunePlan, workers: Workers) -> FinetunePlan:
        """The plan with device, precision and threads: an earlier start's, or the machine's.

        Raises:
            MaskmillError: what a worker found wrong with model, weights or precision.
        """
        facts = self._facts(plan, workers)
        threads = self.recipe.threads or plan.began.get("threads")
        resolved = {
            "device": facts.device,
            "precision": facts.precision,
            "threads": threads or self.trainer.threads(workers, self.workers),
            "torch": facts.torch_version,
        }
        identity = {**plan.identity, **resolved}
        return replace(plan, identity=identity, notes=facts.notes)

    def on_gpu(self, plan: FinetunePlan) -> bool:
        """Never: looking at samples needs none."""
        return False

    def stages(self, plan: FinetunePlan, session: str) -> Sequence[Stage]:
        """One: every sample is read once, as training will read it."""
        reader = PairReader(
            plan=plan.data, resize=self.recipe.resize, max_pixels=self.recipe.max_pixels
        )
        work = CheckSamples(reader=reader, roles=plan.roles)
        operator = CommitItems(layout=self.layout, session=session, table=ROWS, work=work)
        return (Stage(name=FIRST_STAGE, open=Opened(operator)),)

    def finish(
        self, plan: FinetunePlan, record: RunRecord, workers: Workers, *, is_fresh: bool
    ) -> Finetuned:
        """Train, and lay the best epoch out as a model.

        Raises:
            SettingsError: nothing to learn from or to measure on.
            RunFailed: training stopped before its end; the best epoch so far is laid out.
        """
        from maskmill.pipeline.training.result import FOLDER, REPORT, laid_out

        if is_fresh or not all(map(self.layout.exists, self._results())):
            task = self._task(plan, record)
            if workers.elsewhere:  # an earlier start may have been here
                stage_weights(self.layout, plan.choice.weights_path)
            try:
                self.trainer(task, workers, self.say)
            finally:
                card = laid_out(task, self.reporter)
                if card:
                    record.info["model"] = card
        return Finetuned(
            model=self.layout.path(FOLDER),
            report=self.layout.path(REPORT),
            card=record.info["model"],
        )

    def _results(self) -> list[str]:
        """Files whose absence means that the end was not reached, or that more is wanted now."""
        from maskmill.pipeline.training.result import FOLDER, REPORT

        wanted = [EVENTS] if EVENTS in self.recipe.write else []
        return [f"{FOLDER}/{CARD}", REPORT, *wanted]

    def _facts(self, plan: FinetunePlan, workers: Workers) -> WorkerFacts:
        choice, began = plan.choice, plan.began
        if workers.elsewhere:
            stage_weights(self.layout, choice.weights_path)
        device = began.get("device") or (None if workers.has_gpu else "cpu")
        precision = self.recipe.precision
        if precision == "auto":
            precision = began.get("precision", "auto")
        how: dict[str, Any] = {
            "device": device,
            "precision": precision,
            "untrained": self.wanted.untrained,
        }
        found: WorkerFacts | MaskmillError = workers.ask(
            partial(describe_network, **how),
            self.layout,
            replace(choice.spec, precisions=plan.spec.precisions),
            choice.weights_path,
            on_gpu=workers.has_gpu and device != "cpu",
        )
        if isinstance(found, MaskmillError):
            raise found
        return found

    def _task(self, plan: FinetunePlan, record: RunRecord) -> TrainingTask:
        """The task, every setting of it known; what is worth saying before the first step is said.

        Raises:
            SettingsError: nothing to learn from or to measure on.
        """
        labels, recipe, identity = plan.data.mapping.target, self.recipe, record.identity
        train, device = self._looked_at(plan), identity["device"]
        weights = class_weights(recipe.class_weights, train.pixels, train.seen_in, labels)
        spec = plan.spec
        if recipe.image_size is None:
            size = default_size(spec, train.longest_side)
            spec = replace(spec, preprocessing=spec.preprocessing.sized(size))
        is_known, is_trained = knows_all(plan.choice, labels), _is_trained(plan.choice)
        crop = recipe.crop_size or default_crop(spec, device, knows_all=is_known)
        epochs = recipe.epochs or default_epochs(
            train.samples, recipe.batch_size, device, crop, is_trained=is_trained
        )
        steps = epochs * -(-train.samples // recipe.batch_size)
        return TrainingTask(
            layout=self.layout,
            data=plan.data,
            choice=plan.choice,
            spec=spec,
            recipe=recipe,
            fingerprint=record.fingerprint,
            inputs=identity["inputs"],
            epochs=epochs,
            crop=crop,
            learning_rate=default_rate(recipe, knows_all=is_known),
            warm_up=default_warm_up(recipe, steps),
            batch_norm=default_batch_norm(recipe, is_trained=is_trained, workers=self.workers),
            device=device,
            precision=identity["precision"],
            threads=identity["threads"],
            workers=self.workers,
            samples=train.samples,
            class_weights=None if weights is None else tuple(float(one) for one in weights),
        )

    def _looked_at(self, plan: FinetunePlan) -> Census:
        """What there is to learn from, once it is sure that there is enough."""
        labels = plan.data.mapping.target
        found = {role: census(self.layout, role, len(labels.classes)) for role in (TRAIN, VALIDATE)}
        failed = sum(one.failed for one in found.values())
        first = next((one.first_failure for one in found.values() if one.failed), "")
        counts = {role: one.samples for role, one in found.items()}
        why = f" ({failed} samples failed, the first: {first})" if failed else ""
        check_counts(counts, plan.roles, failed=why)
        for role, one in found.items():
            named = zip(labels.names, one.pixels, strict=True)
            missing = [name for name, count in named if not count]
            if missing:
                self.say(_missing_sentence(role, missing))
        return found[TRAIN]

    def _settings(self, plan: FinetunePlan) -> dict[str, Any]:
        return {
            "source": plan.data.request.source,
            "from": plan.data.request.from_format,
            "model": plan.choice.title,
            "out": self.out,
            "data": {**asdict(plan.data.request), "labels": None},  # the map stands in run.json
            "began_with": asdict(self.wanted),
            **{name: plan.identity[name] for name in plan.identity if name != "inputs"},
        }


def knows_all(choice: ModelChoice, labels: LabelMap) -> bool:
    """Whether the model has been trained for every class of the data, by name."""
    known = {one.name for one in choice.labels.classes}
    wanted = (one for one in labels.classes if not one.is_background)
    return _is_trained(choice) and all(one.name in known for one in wanted)


def _is_trained(choice: ModelChoice) -> bool:
    return choice.weights_kind != "untrained"


def _missing_sentence(role: str, names: Sequence[str]) -> str:
    listed = ", ".join(names)
    if role == TRAIN:
        return f"no training mask has {listed}: the model will not learn it"
    return f"no validation mask has {listed}: nothing will say how well the model knows it"
