"""Annotations of a CVAT project: exports of tasks -> masks, who, when, and what changed.

``source`` is CVAT's own word for who drew a shape: auto (a model), semi-auto (a model's that
somebody changed, or one drawn with a tool's help), manual.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element, tostring

from maskmill.pipeline.datasets.documents.xml import parse_xml
from maskmill.pipeline.datasets.formats.cvat_images import image_to_sample
from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import ReadContext, SampleItem
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.pipeline.exchange.batch import ledgers
from maskmill.pipeline.exchange.cvat import Cvat, Document
from maskmill.pipeline.exchange.label_studio_pull import PulledRun, pushed_run
from maskmill.pipeline.exchange.pages import Page, PageFiles
from maskmill.pipeline.exchange.pull_job import Placed, PullJob, safe_key
from maskmill.pipeline.exchange.pulled_masks import (
    change_columns,
    mask_columns,
    sent_mask,
    told_counts,
    told_left_out,
)
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.errors import FileFailure, SettingsError

UNTOUCHED: Final = "not annotated"
AUTO: Final = "auto"
_NUMBER: Final = re.compile(r"^\d{6}-")
_DRAWN: Final = ("mask", "polygon")


def cvat_pull(cvat: Cvat, project_name: str, out: str, run: str) -> PullJob:
    """The job that pulls a project. ``run`` has the ledger of its push.

    Raises:
        SettingsError: no such project, or no such run.
        ServerFailed: the server fails.
    """
    project = cvat.project(project_name)
    if project is None:
        raise SettingsError(f"{cvat.url} has no project called {project_name!r}")
    known = pushed_run(run)
    number = int(project["id"])
    keys = _pushed_keys(run)
    return PullJob(
        out=out,
        labels=known.labels,
        address={"tool": "cvat", "url": cvat.url, "project": number},
        annotators=f"annotators of {cvat.url}, project {number}",
        fetch=lambda pages: fetch_tasks(cvat, number, pages, keys),
        placed=placed_images,
        work=PaintImages(layout=RunLayout(out), run=run, pushed=known),
    )


def _pushed_keys(run: str) -> dict[str, str]:
    """Keys by "task/picture", of every push of the run to any CVAT."""
    keys: dict[str, str] = {}
    for layout in ledgers(run, "cvat-*"):
        for table in layout.committed_rows(["key", "task_id", "picture"]):
            for row in table.to_pylist():
                if row["task_id"] is not None:
                    keys[f"{row['task_id']}/{row['picture']}"] = row["key"]
    return keys


def fetch_tasks(
    cvat: Cvat, project: int, pages: PageFiles, keys: Mapping[str, str]
) -> tuple[str, ...]:
    """The export of every task, one page each, behind what is there already."""
    names = pages.names()
    last = pages.read(names[-1]) if names else {"last": 0, "end": False}
    if not last["end"]:
        pages.keep(_pages(cvat, project, int(last["last"]), keys), len(names))
    return ()


def _pages(cvat: Cvat, project: int, last: int, keys: Mapping[str, str]) -> Iterator[Page]:
    tasks = sorted(int(one["id"]) for one in cvat.every("tasks", project_id=project))
    for task in tasks:
        if task <= last:
            continue
        jobs = list(cvat.every("jobs", task_id=task, type="annotation"))
        images = list(_images(cvat, task))
        taken = [
            {**image, "id": task, "job": job, "key": keys.get(f"{task}/{image['name']}")}
            for image in images
            if _is_annotated(image, job := _job_of(jobs, image["frame"]))
        ]
        left = Counter({UNTOUCHED: len(images) - len(taken)})
        yield Page(tasks=taken, counts=+left, last=task)


def _images(cvat: Cvat, task: int) -> Iterator[Document]:
    """The images of a task's export: frame, name, size, XML and the sources of their shapes."""
    with tempfile.TemporaryDirectory(prefix="maskmill-pull-") as folder:
        path = Path(folder) / "export.zip"
        cvat.export_task(task, path)
        tree = open_tree(str(path))
        [document] = [name for name in tree.names() if name.endswith(".xml")]
        root = parse_xml(tree.read(document), f"the export of task {task}")
        for element in root.iter("image"):
            element.tail = None  # blanks behind it are no part of it
            yield {
                "frame": int(element.get("id", "0")), "name": str(element.get("name")),
                "size": [int(element.get("height", "0")), int(element.get("width", "0"))],
                "xml": tostring(element, encoding="unicode"), "sources": _sources(element),
            }  # fmt: skip


def _sources(element: Element) -> dict[str, int]:
    return dict(
        Counter(str(one.get("source") or "not told") for one in element if one.tag in _DRAWN)
    )


def _job_of(jobs: Sequence[Document], frame: int) -> Document:
    """What is told of the job that has a frame."""
    for job in jobs:
        if int(job["start_frame"]) <= frame <= int(job["stop_frame"]):
            who = (job.get("assignee") or {}).get("username")
            return {
                "id": job["id"], "state": job.get("state"), "annotator": who,
                "updated": job.get("updated_date"),
            }  # fmt: skip
    return {"id": None, "state": None, "annotator": None, "updated": None}


def _is_annotated(image: Document, job: Document) -> bool:
    """Somebody began its job, or drew in it: only a model's shapes are nobody's word."""
    return job["state"] not in (None, "new") or any(name != AUTO for name in image["sources"])


def placed_images(pages: PageFiles) -> Iterator[Placed]:
    """Every image of the pages; one that somebody else put there is called as its picture is."""
    for name, page in pages.all():
        for place, image in enumerate(page["tasks"]):
            told = image["key"] or _NUMBER.sub("", image["name"])
            yield Placed(safe_key(told, image["id"]), name, place, int(image["id"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintImages:
    """The mask of an image's shapes, beside the mask that was pushed."""

    layout: RunLayout
    run: str
    pushed: PulledRun

    def facts(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of PULLED that every row has."""
        known = {name: entry[name] for name in ("image_id", "key", "block")}
        return {**known, "uri": self.pushed.uris.get(entry["key"])}

    def of_block(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """A function from a manifest row to the columns of an ok row; it keeps a page or two."""
        read = lru_cache(maxsize=2)(PageFiles(self.layout).read)

        def paint(entry: dict[str, Any]) -> dict[str, Any]:
            return self._columns(read(entry["page"])["tasks"][entry["place"]], entry)

        return paint

    def _columns(self, image: Document, entry: Mapping[str, Any]) -> dict[str, Any]:
        labels, job = self.pushed.labels, image["job"]
        context = ReadContext(tree=open_tree(self.layout.root), labels=labels)
        height, width = image["size"]
        key = str(entry["key"])
        sample = image_to_sample(image["xml"].encode(), (height, width), key, context)
        return {
            **mask_columns(self.layout, entry["output"], sample.mask, labels),
            **change_columns(sample.mask, self._before(image["key"]), is_new=image["key"] is None),
            "uri": self.pushed.uris.get(key) or image["name"],
            "task_id": int(image["id"]),
            "annotation_id": job["id"],
            "annotator": job["annotator"],
            "annotated_at": job["updated"],
            "origins": told_counts(image["sources"]),
            "left_out": told_left_out(sample.left_out),
        }

    def _before(self, key: str | None) -> LabelMask | None:
        """The mask that was pushed; None where it cannot be read any more."""
        if key is None or key not in self.pushed.masks:
            return None
        payload: Document = {"mask": self.pushed.masks[key], "image": None, "scores": []}
        labels = self.pushed.labels
        context = ReadContext(tree=open_tree(self.run), labels=labels)
        try:
            reader = dataset_format("prelabel").load_reader()
            return sent_mask(
                reader.read(SampleItem(key=key, payload=payload), context).mask, labels
            )
        except FileFailure:
            return None
