"""cvat_push: a request -> the job that sends a run to a project of CVAT, a task per chunk."""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from maskmill.pipeline.datasets.samples import SampleItem
from maskmill.pipeline.exchange.batch import (
    batch_layout,
    place_layout,
    push_manifest,
    run_images,
    sent_before,
)
from maskmill.pipeline.exchange.cvat import Cvat
from maskmill.pipeline.exchange.cvat_delivery import CvatDelivery
from maskmill.pipeline.exchange.label_studio_push import place_name, standing_notes
from maskmill.pipeline.exchange.push_job import PushJob
from maskmill.pipeline.exchange.server import made_once
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap

TASK_IMAGES: Final = 200
MAX_TOLD: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CvatRequest:
    """What a push to CVAT was asked to do; the options of the command."""

    run: str
    project: str
    only: str | None = None
    order: str = "key"
    limit: int | None = None
    task_images: int = TASK_IMAGES


def cvat_push(request: CvatRequest, cvat: Cvat) -> PushJob:
    """The job; the project is found, or made, on the way.

    Raises:
        SettingsError: the run, the project or the options are not what they have to be.
        ServerFailed: the server fails.
    """
    images = run_images(request.run, only=request.only, order=request.order, limit=request.limit)
    project, notes = _project(cvat, request.project, images.labels)
    place = f"cvat-{place_name(cvat.url)}-{project}"
    before = sent_before(request.run, place, images.digest)
    items = [item for item in images.items if item.key not in before]
    blocks, names = _tasks(items, request.task_images, by_folder=request.order == "key")
    labels = _labels_there(cvat, project, images.labels)
    return PushJob(
        place=place_layout(request.run, place).root,
        root=batch_layout(request.run, place, images.digest).root,
        images=images,
        manifest=push_manifest(items, blocks, names),
        annotators=CvatDelivery(cvat=cvat, project=project, labels=labels),
        address={"tool": "cvat", "url": cvat.url, "project": project},
        pictures={"by": "upload"},
        shapes="mask",
        chunk=request.task_images,
        notes=(*notes, *standing_notes(len(images.items) - len(items), images.failed, cvat.url)),
    )


def _project(cvat: Cvat, name: str, labels: LabelMap) -> tuple[int, tuple[str, ...]]:
    found = cvat.project(name)
    if found is not None:
        return int(found["id"]), ()
    wanted = [
        {"name": entry.name, "color": "#{:02x}{:02x}{:02x}".format(*entry.color)}
        for entry in labels.classes
        if not entry.is_background
    ]
    project = made_once(lambda: cvat.create_project(name, wanted), lambda: cvat.project(name))
    made = int(project["id"])
    return made, (f"made project {made}, {name!r}",)


def _labels_there(cvat: Cvat, project: int, labels: LabelMap) -> dict[str, int]:
    """Numbers of the project's labels by name.

    Raises:
        SettingsError: it lacks one of ours, or has it for other shapes than masks.
    """
    there = {one["name"]: one for one in cvat.every("labels", project_id=project)}
    names = [entry.name for entry in labels.classes if not entry.is_background]
    missing = [
        name for name in names if there.get(name, {}).get("type", "no") not in ("any", "mask")
    ]
    if missing:
        more = f" and {len(missing) - MAX_TOLD} more" if len(missing) > MAX_TOLD else ""
        raise SettingsError(
            f"project {project} has no label for masks called {', '.join(missing[:MAX_TOLD])}"
            f"{more}: add them there (type any or mask), or give another --project"
        )
    return {name: int(there[name]["id"]) for name in names}


def _tasks(
    items: Sequence[SampleItem], size: int, *, by_folder: bool
) -> tuple[list[int], list[str]]:
    """The task of each image: pieces of a folder, or of the whole where another order was asked."""
    blocks: list[int] = []
    names: list[str] = []
    folder, filled, piece, block = "", 0, 0, -1
    for item in items:
        own = posixpath.dirname(item.key) if by_folder else "by rank"
        if block < 0 or own != folder or filled == size:
            piece = 1 if block < 0 or own != folder else piece + 1
            folder, filled, block = own, 0, block + 1
        filled += 1
        blocks.append(block)
        names.append(f"{own or 'images'} {piece}")
    return blocks, names
