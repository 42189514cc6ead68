"""label_studio_push: a request -> the job that sends a run to a project of Label Studio."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from maskmill.pipeline.datasets.documents.label_studio_config import labeling_config
from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import WriteContext
from maskmill.pipeline.exchange.batch import (
    RunImages,
    batch_layout,
    place_layout,
    push_manifest,
    run_images,
    sent_before,
)
from maskmill.pipeline.exchange.label_studio import (
    LabelStudio,
    Project,
    is_blank,
    missing_labels,
)
from maskmill.pipeline.exchange.label_studio_delivery import LabelStudioDelivery
from maskmill.pipeline.exchange.push_job import PushJob
from maskmill.pipeline.exchange.server import is_open_to_listeners, made_once
from maskmill.pipeline.exchange.uploaded_pictures import (
    Pictures,
    PicturesByUpload,
    PicturesByUrl,
    PicturesOnItsDisk,
)
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.text import count_of

SHAPES: Final = {
    "brush": ("label_studio", "brushlabels"),
    "polygon": ("label_studio_polygons", "polygonlabels"),
}
"""What a mask becomes: the format of `convert` that writes it, and the tag of the config."""

CHUNK: Final = 50
MAX_TOLD: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelStudioRequest:
    """What a push to Label Studio was asked to do; the options of the command."""

    run: str
    project: str
    only: str | None = None
    order: str = "key"
    limit: int | None = None
    shapes: str = "brush"
    max_loss: float = 0.01
    chunk: int = CHUNK
    picture_urls: str | None = None
    local_files: str | None = None
    local_files_root: str | None = None


def label_studio_push(request: LabelStudioRequest, studio: LabelStudio) -> PushJob:
    """The job; the project is found, or made, on the way.

    Raises:
        SettingsError: the run, the project or the options are not what they have to be.
        ServerFailed: the server fails.
    """
    images = run_images(request.run, only=request.only, order=request.order, limit=request.limit)
    pictures, told = _pictures(request, studio)
    project, notes = _project(request, studio, images)
    pictures.prepare(project.id)
    place = f"labelstudio-{place_name(studio.server.url)}-{project.id}"
    before = sent_before(request.run, place, images.digest)
    items = [item for item in images.items if item.key not in before]
    format_name, _ = SHAPES[request.shapes]
    context = WriteContext(
        labels=images.labels, max_loss=request.max_loss, info={"model": images.model}
    )
    delivery = LabelStudioDelivery(
        studio=studio, project=project.id, pictures=pictures, context=context,
        format=dataset_format(format_name),
    )  # fmt: skip
    shapes = request.shapes if request.shapes == "brush" else f"polygon, loss {request.max_loss:g}"
    return PushJob(
        place=place_layout(request.run, place).root,
        root=batch_layout(request.run, place, images.digest).root,
        images=images,
        manifest=push_manifest(
            items, [place // request.chunk for place in range(len(items))], [""] * len(items)
        ),
        annotators=delivery,
        address={"tool": "labelstudio", "url": studio.server.url, "project": project.id},
        pictures=told,
        shapes=shapes,
        chunk=request.chunk,
        notes=(
            *notes,
            *standing_notes(len(images.items) - len(items), images.failed, studio.server.url),
        ),
    )


def place_name(url: str) -> str:
    """The server's address as part of a folder's name."""
    parts = urlsplit(url)
    return re.sub(r"[^A-Za-z0-9.]+", "_", f"{parts.netloc}{parts.path}").strip("_")


def _pictures(request: LabelStudioRequest, studio: LabelStudio) -> tuple[Pictures, dict[str, str]]:
    if request.picture_urls is not None and request.local_files is not None:
        raise SettingsError("--picture-urls and --local-files are two ways to show one picture")
    if request.local_files_root is not None and request.local_files is None:
        raise SettingsError("--local-files-root says what --local-files is below: give that too")
    if request.picture_urls is not None:
        prefix = request.picture_urls
        return PicturesByUrl(prefix=prefix), {"by": "url", "prefix": prefix}
    if request.local_files is not None:
        folder = request.local_files.rstrip("/")
        root = (request.local_files_root or folder.rpartition("/")[0]).rstrip("/") or "/"
        return (
            PicturesOnItsDisk(studio=studio, folder=folder, root=root),
            {"by": "local files", "folder": folder, "root": root},
        )
    return PicturesByUpload(studio=studio), {"by": "upload"}


def _project(
    request: LabelStudioRequest, studio: LabelStudio, images: RunImages
) -> tuple[Project, tuple[str, ...]]:
    """The project of that name, made or configured where nobody has done so."""
    kind = SHAPES[request.shapes][1]
    config = labeling_config(images.labels, kind)
    project = studio.project(request.project)
    if project is None:
        told = f"Pre-labels by maskmill, {images.model}"
        project = made_once(
            lambda: studio.create_project(request.project, config, told),
            lambda: studio.project(request.project),
        )
        return project, (f"made project {project.id}, {project.title!r}",)
    if is_blank(project.config) and not project.tasks:
        return studio.configure(project, config), (
            f"project {project.id} had no labelling config: it has one now",
        )
    names = [one.name for one in images.labels.classes if not one.is_background]
    missing = missing_labels(project.config, kind, names)
    if missing is None:
        raise SettingsError(
            f"project {project.id} ({project.title!r}) has no tag for {request.shapes} labels as "
            f"maskmill names it; put this into its labelling config, or give another --project:\n"
            f"{config}"
        )
    if missing:
        more = f" and {len(missing) - MAX_TOLD} more" if len(missing) > MAX_TOLD else ""
        raise SettingsError(
            f"the labelling config of project {project.id} ({project.title!r}) lacks "
            f"{', '.join(missing[:MAX_TOLD])}{more}: add these labels in its settings, or give "
            "another --project; Label Studio shows no region of a label that it does not know"
        )
    return project, ()


def standing_notes(sent_before: int, failed: int, url: str) -> tuple[str, ...]:
    """What is to be heard at the beginning of any push."""
    notes = []
    if sent_before:
        notes.append(
            f"{count_of(sent_before, 'image is', 'images are')} in the project already, by earlier "
            "pushes: left out"
        )
    if failed:
        notes.append(f"{count_of(failed, 'image')} of the run failed, without a mask: not sent")
    if is_open_to_listeners(url):
        notes.append(f"{url} is not https: the token travels for everyone to read")
    return tuple(notes)
