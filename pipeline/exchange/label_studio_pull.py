"""Annotations of a Label Studio project: pages of tasks -> masks, who, when, and what changed."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from maskmill.pipeline.datasets.documents.label_studio_config import labels_of_config
from maskmill.pipeline.datasets.documents.label_studio_tasks import parse_task, picture_names
from maskmill.pipeline.datasets.formats.label_studio import task_to_sample
from maskmill.pipeline.datasets.guards import WRONG_SHAPE, misshapen
from maskmill.pipeline.datasets.left_out import OTHER_RESULTS, Omission
from maskmill.pipeline.datasets.samples import ReadContext, Sample
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.pipeline.exchange.label_studio import KEY, Document, LabelStudio, condition
from maskmill.pipeline.exchange.pages import Page, PageFiles
from maskmill.pipeline.exchange.pull_job import Placed, PullJob, safe_key
from maskmill.pipeline.exchange.pulled_masks import (
    change_columns,
    mask_columns,
    told_counts,
    told_left_out,
)
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import load_record
from maskmill.schemas.errors import DocumentFailure, FileFailure, ServerFailed, SettingsError
from maskmill.schemas.labels import LabelMap

PAGE_TASKS: Final = 25
"""Tasks of one answer: with their brushes some ten megabytes."""

SKIPPED: Final = "skipped"
UNANNOTATED: Final = "not annotated"


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledRun:
    """What the run that was pushed adds: its classes, its pictures and masks by key."""

    labels: LabelMap
    uris: Mapping[str, str]
    masks: Mapping[str, str]


def pushed_run(run: str) -> PulledRun:
    """Of a finished run.

    Raises:
        SettingsError: there is none.
    """
    layout = RunLayout(run)
    record = load_record(layout)
    if record is None or not record.label_map:
        raise SettingsError(f"{run} holds no run with a label map; --run is the OUT of `prelabel`")
    rows = [
        row
        for table in layout.committed_rows(["key", "uri", "status", "mask_path"])
        for row in table.to_pylist()
        if row["status"] == "ok"
    ]
    return PulledRun(
        labels=LabelMap.from_dict(record.label_map),
        uris={row["key"]: row["uri"] for row in rows},
        masks={row["key"]: row["mask_path"] for row in rows},
    )


def label_studio_pull(
    studio: LabelStudio, project_name: str, out: str, run: str | None = None
) -> PullJob:
    """The job that pulls a project.

    Raises:
        SettingsError: no such project.
        ServerFailed: the server fails.
    """
    project = studio.project(project_name)
    if project is None:
        raise SettingsError(f"{studio.server.name} has no project called {project_name!r}")
    known = pushed_run(run) if run is not None else None
    labels = known.labels if known else _labels_of(project.config, project.title)
    layout = RunLayout(out)
    return PullJob(
        out=out,
        labels=labels,
        address={"tool": "labelstudio", "url": studio.server.url, "project": project.id},
        annotators=f"annotators of {studio.server.url}, project {project.id}",
        fetch=lambda pages: fetch_pages(studio, project.id, pages),
        placed=placed_tasks,
        work=PaintAnnotations(layout=layout, labels=labels, uris=known.uris if known else {}),
    )


def _labels_of(config: str, title: str) -> LabelMap:
    try:
        return labels_of_config(config.encode(), f"the labelling config of {title}")
    except DocumentFailure as failure:
        raise ServerFailed(str(failure)) from failure


def fetch_pages(studio: LabelStudio, project: int, pages: PageFiles) -> tuple[str, ...]:
    """Every annotated task with its predictions, page by page, behind what is there already.

    What the server counts and did not give is told.
    """
    names = pages.names()
    last = pages.read(names[-1]) if names else {"last": 0, "end": False}
    if not last["end"]:
        pages.keep(_pages(studio, project, int(last["last"])), len(names))
    given = sum(len(done_annotations(task)) for _, page in pages.all() for task in page["tasks"])
    counted = studio.project_of_id(project).annotations
    if counted <= given:
        return ()
    return (
        f"the server counts {counted:,} annotations and gave {given:,}: some were made meanwhile, "
        "or its counters are wrong; pull once more into another folder and compare",
    )


def _pages(studio: LabelStudio, project: int, last: int) -> Iterator[Page]:
    """Numbers first, which are light: the whole of a task is asked for where somebody worked."""
    behind = [condition("tasks:id", "greater", "Number", last)]
    for light in studio.tasks(project, behind, size=PAGE_TASKS):
        first, end = int(light[0]["id"]), int(light[-1]["id"])
        touched = any(task["total_annotations"] or task["cancelled_annotations"] for task in light)
        tasks = _whole(studio, project, first, end) if touched else []
        taken = [task for task in tasks if done_annotations(task)]
        skipped = sum(1 for task in tasks if task.get("annotations")) - len(taken)
        counts = Counter({SKIPPED: skipped, UNANNOTATED: len(light) - len(taken) - skipped})
        yield Page(tasks=taken, counts=+counts, last=end)


def _whole(studio: LabelStudio, project: int, first: int, end: int) -> list[Document]:
    span = [
        condition("tasks:id", "greater", "Number", first - 1),
        condition("tasks:id", "less", "Number", end + 1),
    ]
    return [
        task for page in studio.tasks(project, span, whole=True, size=PAGE_TASKS) for task in page
    ]


def done_annotations(task: Mapping[str, Any]) -> list[Document]:
    """The annotations of a task that nobody has cancelled."""
    return [one for one in task.get("annotations") or [] if not one.get("was_cancelled")]


def placed_tasks(pages: PageFiles) -> Iterator[Placed]:
    """Every task of the pages. A task that somebody else made is called as its picture is."""
    for name, page in pages.all():
        for place, task in enumerate(page["tasks"]):
            yield Placed(safe_key(_key_of(task), task["id"]), name, place, int(task["id"]))


def _key_of(task: Document) -> str:
    told = (task.get("data") or {}).get(KEY)
    if isinstance(told, str) and told:
        return told
    try:
        return picture_names(parse_task(task, "a task").key)[-1]
    except (DocumentFailure, *WRONG_SHAPE):
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintAnnotations:
    """The mask of a task's last annotation, beside that of the prediction it began as."""

    layout: RunLayout
    labels: LabelMap
    uris: Mapping[str, str]

    def facts(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of PULLED that every row has."""
        known = {name: entry[name] for name in ("image_id", "key", "block")}
        return {**known, "uri": self.uris.get(entry["key"])}

    def of_block(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """A function from a manifest row to the columns of an ok row; it keeps a page or two."""
        read = lru_cache(maxsize=2)(PageFiles(self.layout).read)

        def paint(entry: dict[str, Any]) -> dict[str, Any]:
            task = read(entry["page"])["tasks"][entry["place"]]
            try:
                return self._columns(task, entry)
            except WRONG_SHAPE as error:
                raise misshapen(entry["key"], error) from error

        return paint

    def _columns(self, task: Document, entry: Mapping[str, Any]) -> dict[str, Any]:
        done = done_annotations(task)
        annotation = done[-1]
        context = ReadContext(tree=open_tree(self.layout.root), labels=self.labels)
        sample = task_to_sample(_only(task, annotation), entry["key"], context)
        origins = _origins(annotation)
        parent = _parent(task, annotation, origins)
        before = self._before(task, parent, entry["key"], context)
        left_out = Counter(sample.left_out)
        left_out[Omission(OTHER_RESULTS)] += sum(len(one.get("result") or []) for one in done[:-1])
        is_new = parent is None and not annotation.get("parent_prediction")
        return {
            **mask_columns(self.layout, entry["output"], sample.mask, self.labels),
            **change_columns(sample.mask, before.mask if before else None, is_new=is_new),
            "uri": self.uris.get(entry["key"]) or str(task["data"].get("image")),
            "task_id": int(task["id"]),
            "annotation_id": int(annotation["id"]),
            "annotator": _who(annotation),
            "annotated_at": annotation.get("updated_at") or annotation.get("created_at"),
            "lead_seconds": annotation.get("lead_time"),
            "origins": told_counts(origins),
            "parent_prediction": parent["id"] if parent else annotation.get("parent_prediction"),
            "model_version": (parent or {}).get("model_version"),
            "score": (parent or {}).get("score"),
            "left_out": told_left_out(left_out),
        }

    def _before(
        self, task: Document, parent: Document | None, key: str, context: ReadContext
    ) -> Sample | None:
        """The prediction's mask; None where it cannot be painted: then nothing is compared."""
        if parent is None:
            return None
        try:
            return task_to_sample(_only(task, parent), key, context)
        except FileFailure:
            return None


def _only(task: Document, one: Document) -> Document:
    """The task as if nobody had done anything else."""
    return {**task, "annotations": [one], "predictions": []}


def _origins(annotation: Document) -> Counter[str]:
    results: Sequence[Document] = annotation.get("result") or []
    return Counter(str(one.get("origin") or "not told") for one in results)


def _parent(task: Document, annotation: Document, origins: Counter[str]) -> Document | None:
    """The prediction an annotation began as: the one it names, else the one its regions are of."""
    predictions: Sequence[Document] = task.get("predictions") or []
    named = annotation.get("parent_prediction")
    if named is not None:
        return next((one for one in predictions if one.get("id") == named), None)
    if not any(name.startswith("prediction") for name in origins):
        return None
    ours = {one.get("id") for one in annotation.get("result") or []}
    shared = [
        (len(ours & {region.get("id") for region in one.get("result") or []}), -place, one)
        for place, one in enumerate(predictions)
    ]
    return max(shared, key=lambda entry: entry[:2])[2] if shared else None


def _who(annotation: Document) -> str | None:
    """The e-mail in ``created_username`` ("First Last a@b.c, 1"), else the number."""
    told = str(annotation.get("created_username") or "").rpartition(",")[0].strip()
    by = annotation.get("completed_by")
    if isinstance(by, dict):
        return str(by.get("email") or by.get("id"))
    return told.rpartition(" ")[2] or (None if by is None else str(by))
