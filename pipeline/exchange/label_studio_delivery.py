"""LabelStudioDelivery: chunks of tasks with predictions, each task once.

Every task carries its key and the name of its chunk. Before a chunk is sent, and after every
answer that leaves doubt, the server is asked which tasks of the chunk it has; only what is missing
is sent, and what is there twice is removed.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from maskmill.pipeline.datasets.dataset_format import DatasetFormat
from maskmill.pipeline.datasets.samples import Target, WriteContext
from maskmill.pipeline.exchange.delivery import Delivered, OutgoingImage, Settlement
from maskmill.pipeline.exchange.label_studio import (
    CHUNK,
    ID_PAGE,
    KEY,
    Document,
    LabelStudio,
    condition,
)
from maskmill.pipeline.exchange.server import FIRST_WAIT, TRIES, NotThere, PassingFailure, Refused
from maskmill.pipeline.exchange.uploaded_pictures import Pictures
from maskmill.schemas.errors import ErrorCode, FileFailure, ServerFailed

MAX_STILL_WAITS: Final = 30
MAX_REQUEST_BYTES: Final = 50 << 20
"""Of the tasks of one request: proxies in front of the server take 100 or 200 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelStudioDelivery:
    """Sends to one project. ``wait`` is time.sleep but in tests of waiting."""

    studio: LabelStudio
    project: int
    pictures: Pictures
    format: DatasetFormat
    context: WriteContext
    wait: Callable[[float], None] = time.sleep

    def deliver(
        self, chunk: str, name: str, images: Sequence[OutgoingImage]
    ) -> Mapping[int, Delivered | FileFailure]:
        """The chunk's tasks are there once each, with what the server kept of their predictions."""
        tasks = {one.image_id: self._task(one, chunk) for one in images}
        refused: dict[int, FileFailure] = {}
        doubt: PassingFailure | None = None
        for number in range(TRIES + 1):  # the last time only looks
            there = self._there(chunk)
            missing = [
                one for one in images if one.key not in there and one.image_id not in refused
            ]
            if not missing:
                return {**refused, **self._kept(chunk, images, tasks, there)}
            if number == TRIES:
                break
            try:
                refused |= self._send(missing, tasks, again=number > 0 or len(there) > 0)
            except PassingFailure as failure:
                doubt = failure
                self._until_still(chunk, number)
        if doubt is not None:
            raise doubt
        raise ServerFailed(
            f"{self.studio.server.name} says that it takes tasks and does not have them: "
            f"{missing[0].key} was sent {TRIES} times; see its log"
        )

    def settle(self, push: str, ledger: Iterable[tuple[str, int]]) -> Settlement:
        """Tasks of the push that the ledger does not know are doubles of late answers."""
        ours = dict(ledger)
        seen: set[str] = set()
        removed = 0
        for task in self._tasks_with("contains", f"{push}/"):
            key, number = str(task["data"].get(KEY)), int(task["id"])
            if ours.get(key) == number:
                seen.add(key)
            elif key in ours and not _is_annotated(task):
                self._remove(number)
                removed += 1
        return Settlement(removed=removed, gone=tuple(key for key in ours if key not in seen))

    def _there(self, chunk: str) -> dict[str, int]:
        """Number of the task by key; of several the first, or one that somebody has annotated."""
        found: dict[str, list[Document]] = defaultdict(list)
        for task in self._tasks_with("equal", chunk):
            found[str(task["data"].get(KEY))].append(task)
        kept: dict[str, int] = {}
        for key, tasks in found.items():
            tasks.sort(key=lambda task: (not _is_annotated(task), int(task["id"])))
            kept[key] = int(tasks[0]["id"])
            for double in tasks[1:]:
                if not _is_annotated(double):
                    self._remove(int(double["id"]))
        return kept

    def _tasks_with(self, operator: str, chunk: str, *more: Document) -> Iterator[Document]:
        of_chunk = condition(f"tasks:data.{CHUNK}", operator, "String", chunk)
        for page in self.studio.tasks(self.project, [of_chunk, *more], size=ID_PAGE):
            yield from page

    def _remove(self, number: int) -> None:
        try:
            self.studio.delete_task(number)
        except NotThere:  # gone already: what was wanted
            return

    def _send(
        self, images: Sequence[OutgoingImage], tasks: Mapping[int, Document], *, again: bool
    ) -> dict[int, FileFailure]:
        """Pictures, then tasks; what the server would not take, by image_id."""
        shown = self.pictures.show(self.project, images, again=again)
        failures: dict[int, FileFailure] = {}
        ready: list[tuple[OutgoingImage, Document, int]] = []
        for image in images:
            where = shown[image.image_id]
            if isinstance(where, FileFailure):
                failures[image.image_id] = where
            else:
                task = _with_picture(tasks[image.image_id], where)
                ready.append((image, task, _size_of(task)))
        for group in _groups(ready):
            failures |= self._import(group)
        return failures

    def _import(self, tasks: Sequence[tuple[OutgoingImage, Document]]) -> dict[int, FileFailure]:
        """Halves of what is refused are sent alone, until it is known which task is at fault."""
        try:
            self.studio.import_tasks(self.project, [task for _, task in tasks])
        except Refused as refused:
            if len(tasks) == 1:
                image = tasks[0][0]
                told = f"{image.key}: {refused}"
                return {image.image_id: FileFailure(ErrorCode.NOT_TAKEN, told)}
            half = len(tasks) // 2
            return {**self._import(tasks[:half]), **self._import(tasks[half:])}
        return {}

    def _task(self, image: OutgoingImage, chunk: str) -> Document:
        """The task as `convert` writes it, with our two fields; its picture's place is to come."""
        target = Target(image_id=image.image_id, stem=image.key, split="")
        sample = replace(image.sample, key=image.key)
        task: Document = self.format.load_writer().write(sample, target, self.context).record
        return {**task, "data": {**task["data"], KEY: image.key, CHUNK: chunk}}

    def _kept(
        self,
        chunk: str,
        images: Sequence[OutgoingImage],
        tasks: Mapping[int, Document],
        there: Mapping[str, int],
    ) -> dict[int, Delivered | FileFailure]:
        """Each image, after predictions that the server dropped were sent once more."""
        present = [one for one in images if one.key in there]
        predictions = {one.image_id: tasks[one.image_id]["predictions"][0] for one in present}
        dropped = self._without_prediction(chunk, present)
        if dropped:
            again = [{"task": there[one.key], **predictions[one.image_id]} for one in dropped]
            with suppress(Refused):  # asked again below, and told with the image's name
                self.studio.import_predictions(self.project, again)
            dropped = self._without_prediction(chunk, dropped)
        lost = {one.image_id for one in dropped}
        told: dict[int, Delivered | FileFailure] = {}
        for one in present:
            regions, task = len(predictions[one.image_id]["result"]), there[one.key]
            told[one.image_id] = (
                _loss(one.key, task, regions)
                if one.image_id in lost
                else Delivered(task_id=task, picture=one.key, regions=regions)
            )
        return told

    def _without_prediction(
        self, chunk: str, images: Sequence[OutgoingImage]
    ) -> list[OutgoingImage]:
        """Those whose task has no prediction of this model, asked of the predictions themselves."""
        version = self.context.info["model"]
        has = condition("tasks:predictions_model_versions", "contains", "String", version)
        kept = {str(task["data"].get(KEY)) for task in self._tasks_with("equal", chunk, has)}
        return [one for one in images if one.key not in kept]

    def _until_still(self, chunk: str, number: int) -> None:
        """Wait until what an unanswered request may still be doing has come to an end."""
        self.wait(FIRST_WAIT * 2**number)
        before = -1
        for _ in range(MAX_STILL_WAITS):
            now = len(list(self._tasks_with("equal", chunk)))
            if now == before:
                return
            before = now
            self.wait(FIRST_WAIT * 2**number)


def _with_picture(task: Document, where: Mapping[str, Any]) -> Document:
    more = {name: value for name, value in where.items() if name != "image"}
    return {**task, **more, "data": {**task["data"], "image": where["image"]}}


def _loss(key: str, task: int, regions: int) -> FileFailure:
    return FileFailure(
        ErrorCode.NOT_TAKEN,
        f"{key}: the server made task {task} and dropped its prediction of {regions} regions "
        "without a word; see its log, then give the command again with --retry-failed",
    )


def _is_annotated(task: Document) -> bool:
    return bool(
        task.get("total_annotations") or task.get("cancelled_annotations") or task.get("drafts")
    )


def _size_of(task: Document) -> int:
    """About the bytes of a task: its brushes are lists of numbers of up to three digits."""
    regions = [region["value"] for one in task["predictions"] for region in one["result"]]
    return 600 * (1 + len(regions)) + sum(
        4 * len(value.get("rle") or ()) + 40 * len(value.get("points") or ()) for value in regions
    )


def _groups(
    tasks: Sequence[tuple[OutgoingImage, Document, int]],
) -> Iterator[list[tuple[OutgoingImage, Document]]]:
    group: list[tuple[OutgoingImage, Document]] = []
    filled = 0
    for image, task, size in tasks:
        if group and filled + size > MAX_REQUEST_BYTES:
            yield group
            group, filled = [], 0
        group.append((image, task))
        filled += size
    if group:
        yield group
