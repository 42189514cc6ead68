"""CvatDelivery: a CVAT task per chunk, its pictures once and its shapes once.

The task's name ends with the name of its chunk, so it is found again. A task without frames is one
whose making was interrupted: it is removed and made anew. Shapes are compared with those that are
there; what is missing is sent in pieces, what is there twice is removed.
"""

import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from maskmill.pipeline.datasets.samples import present_classes
from maskmill.pipeline.exchange.cvat import Cvat, Document
from maskmill.pipeline.exchange.delivery import Delivered, OutgoingImage, Settlement
from maskmill.pipeline.exchange.server import FIRST_WAIT, TRIES, NotThere, PassingFailure, Refused
from maskmill.pipeline.exchange.uploaded_pictures import upload_name
from maskmill.pipeline.masks.run_lengths import mask_to_points
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.arrays import BoolMask
from maskmill.schemas.errors import ErrorCode, FileFailure, ServerFailed

SHAPES: Final = 500
"""Of one request: a busy server takes a minute for some thousands."""

AUTO: Final = "auto"
Shape = tuple[int, int, tuple[float, ...]]
"""Frame, label and points: two shapes that agree in these are one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CvatDelivery:
    """Sends to one project. ``labels`` are its label numbers by name."""

    cvat: Cvat
    project: int
    labels: Mapping[str, int]
    wait: Callable[[float], None] = time.sleep

    def deliver(
        self, chunk: str, name: str, images: Sequence[OutgoingImage]
    ) -> Mapping[int, Delivered | FileFailure]:
        """The chunk's task is there once, with its frames and their shapes."""
        doubt: PassingFailure | None = None
        for number in range(TRIES):
            try:
                return self._delivered(chunk, name, images)
            except PassingFailure as failure:
                doubt = failure
                self.wait(FIRST_WAIT * 2**number)
        raise doubt or ServerFailed(f"{self.cvat.url}: {name} could not be sent")

    def settle(self, push: str, ledger: Iterable[tuple[str, int]]) -> Settlement:
        """Tasks of the push that the ledger does not know and that hold nothing are removed."""
        ours = list(ledger)
        known = {task for _, task in ours}
        there, removed = set(), 0
        for task in self._tasks():
            if f"[{push}/" not in task["name"]:
                continue
            there.add(int(task["id"]))
            if task["id"] not in known and not task["size"]:
                self._remove(task)
                removed += 1
        return Settlement(
            removed=removed, gone=tuple(key for key, task in ours if task not in there)
        )

    def _delivered(
        self, chunk: str, name: str, images: Sequence[OutgoingImage]
    ) -> dict[int, Delivered | FileFailure]:
        failures: dict[int, FileFailure] = {}
        task = self._task(f"{name} [{chunk}]", images, failures)
        present = [one for one in images if one.image_id not in failures]
        if task is None:
            return dict(failures)
        places = {picture: frame for frame, picture in enumerate(self.cvat.frames(task))}
        for image in [one for one in present if upload_name(one) not in places]:
            told = f"{image.key}: task {task} has no frame of it; the server left it out"
            failures[image.image_id] = FileFailure(ErrorCode.NOT_TAKEN, told)
        present = [one for one in present if one.image_id not in failures]
        frames = {one.image_id: places[upload_name(one)] for one in present}
        missing = self._annotated(task, present, frames)
        done: dict[int, Delivered | FileFailure] = {}
        for image in present:
            shapes = self._shapes(image, frames[image.image_id])
            lost = sum(1 for one in shapes if _identity(one) in missing)
            done[image.image_id] = (
                _loss(image.key, task, lost)
                if lost
                else Delivered(
                    task_id=task, frame=frames[image.image_id], picture=upload_name(image),
                    regions=len(shapes),
                )
            )  # fmt: skip
        return {**done, **failures}

    def _tasks(self) -> Iterator[Document]:
        return self.cvat.every("tasks", project_id=self.project)

    def _remove(self, task: Document) -> None:
        try:
            self.cvat.ask("tasks", "destroy", int(task["id"]))
        except NotThere:  # gone already: what was wanted
            return

    def _task(
        self, name: str, images: Sequence[OutgoingImage], failures: dict[int, FileFailure]
    ) -> int | None:
        """The number of the task with its frames; None where no picture could be read."""
        found = [one for one in self._tasks() if one["name"] == name]
        whole = [one for one in found if one["size"]]
        for one in found:
            if not one["size"]:
                self._remove(one)
        if whole:
            return min(int(one["id"]) for one in whole)
        with tempfile.TemporaryDirectory(prefix="maskmill-push-") as folder:
            files = list(_spooled(images, Path(folder), failures))
            if not files:
                return None
            task = int(self.cvat.create_task(name, self.project)["id"])
            try:
                self.cvat.fill_task(task, files)
            except Refused as refused:
                self._remove({"id": task})
                for image in images:
                    told = f"{image.key}: {refused}; no picture of its task was taken"
                    failures.setdefault(image.image_id, FileFailure(ErrorCode.NOT_TAKEN, told))
                return None
        return task

    def _annotated(
        self, task: int, images: Sequence[OutgoingImage], frames: Mapping[int, int]
    ) -> set[Shape]:
        """Send what is missing of the shapes; what is missing all the same."""
        wanted: list[Document] = []
        for image in images:
            wanted += self._shapes(image, frames[image.image_id])
        there = self._once(task)
        touched = {int(one["frame"]) for one in there if one.get("source") != AUTO}
        known = {_identity(one) for one in there}
        missing = [
            one for one in wanted if _identity(one) not in known and one["frame"] not in touched
        ]
        for first in range(0, len(missing), SHAPES):
            self.cvat.change_shapes("create", task, missing[first : first + SHAPES])
        if not missing:
            return set()
        now = {_identity(one) for one in self._once(task)}
        return {_identity(one) for one in missing} - now

    def _once(self, task: int) -> list[Document]:
        """The shapes that are there, after doubles of late answers were removed."""
        there = self.cvat.shapes(task)
        by_shape: dict[Shape, list[Document]] = defaultdict(list)
        for one in there:
            if one["type"] == "mask" and one.get("source") == AUTO:
                by_shape[_identity(one)].append(one)
        doubles = [one for same in by_shape.values() for one in same[1:]]
        if doubles:
            fields = ("id", "type", "frame", "label_id", "points")
            self.cvat.change_shapes(
                "delete", task, [{name: one[name] for name in fields} for one in doubles]
            )
            gone = {one["id"] for one in doubles}
            there = [one for one in there if one["id"] not in gone]
        return there

    def _shapes(self, image: OutgoingImage, frame: int) -> list[Document]:
        """A mask per class, as CVAT's API has it: runs in the box, then the box."""
        sample = image.sample
        shapes: list[Document] = []
        for index, inside in present_classes(sample.mask, sample.labels):
            shape: Document = {
                "type": "mask", "frame": frame, "label_id": self.labels[sample.labels.names[index]],
                "points": mask_points(inside), "source": AUTO, "occluded": False,
            }  # fmt: skip
            if index in sample.scores:
                shape["score"] = round(float(sample.scores[index]), 6)
            shapes.append(shape)
        return shapes


def mask_points(inside: BoolMask) -> list[float]:
    """CVAT's ``points`` of an (H, W) bool mask with a pixel: runs row by row, then the box."""
    rows, cols = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    top, bottom, left, right = (int(one) for one in (rows[0], rows[-1], cols[0], cols[-1]))
    box = inside[top : bottom + 1, left : right + 1]
    return [float(value) for value in mask_to_points(box, left, top)]


def _identity(shape: Mapping[str, Any]) -> Shape:
    return int(shape["frame"]), int(shape["label_id"]), tuple(map(float, shape["points"]))


def _loss(key: str, task: int, lost: int) -> FileFailure:
    return FileFailure(
        ErrorCode.NOT_TAKEN,
        f"{key}: task {task} lacks {lost} of its shapes though the server took them; give the "
        "command again with --retry-failed",
    )


def _spooled(
    images: Sequence[OutgoingImage], folder: Path, failures: dict[int, FileFailure]
) -> Iterator[Path]:
    """The pictures as files of plain, unique names: what the SDK uploads."""
    names = Counter(upload_name(one) for one in images)
    for image in images:
        path = folder / upload_name(image)
        assert names[path.name] == 1, "names begin with the number of the image"
        try:
            path.write_bytes(read_bytes(image.uri))
        except FileFailure as failure:
            failures[image.image_id] = failure
            continue
        yield path
