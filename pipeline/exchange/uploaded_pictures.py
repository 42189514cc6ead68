"""How annotators' browsers get the pictures of Label Studio tasks: upload, a URL, or its disk."""

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote

from maskmill.pipeline.exchange.delivery import OutgoingImage
from maskmill.pipeline.exchange.label_studio import LabelStudio
from maskmill.pipeline.pictures.names import extension_of
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.errors import ErrorCode, FileFailure, SettingsError

SHOWN: Final = tuple(f".{kind}" for kind in ["bmp", "gif", "jpg", "jpeg", "png", "webp"])
"""Endings of pictures that browsers show and Label Studio takes: its list, not ours."""

UPLOAD_BYTES: Final = 40 << 20
UPLOAD_FILES: Final = 50
"""Of one request: the server's own limits are 250 MB and 100 files, proxies have lower ones."""

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME: Final = 60
_PREFIX: Final = re.compile(r"^[0-9a-f]{8}-")

Shown = dict[str, Any]
"""What of a task says where its picture is: ``image`` and perhaps ``file_upload_id``."""


class Pictures(Protocol):
    """A way to show pictures."""

    def prepare(self, project: int) -> None:
        """What has to be there before the first task."""

    def show(
        self, project: int, images: Sequence[OutgoingImage], *, again: bool
    ) -> Mapping[int, Shown | FileFailure]:
        """Where the picture of each image is for the server, by image_id.

        ``again``: something may be there from an earlier try, and is used.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturesByUrl:
    """A web server that annotators' browsers reach has them: prefix + key."""

    prefix: str

    def prepare(self, project: int) -> None:
        """Nothing: whether browsers may load them is between them and that server."""

    def show(
        self, project: int, images: Sequence[OutgoingImage], *, again: bool
    ) -> Mapping[int, Shown | FileFailure]:
        """The prefix and the key, quoted."""
        return {one.image_id: {"image": self.prefix + quote(one.key)} for one in images}


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturesOnItsDisk:
    """The server reads them from its own disk: local-files storage.

    ``folder`` is what the run's source is there, ``root`` the server's
    LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT.
    """

    studio: LabelStudio
    folder: str
    root: str

    def __post_init__(self) -> None:
        below = posixpath.relpath(self.folder, self.root)
        if not self.folder.startswith("/") or below.startswith("..") or below == ".":
            raise SettingsError(
                f"--local-files {self.folder} must be a folder below --local-files-root "
                f"{self.root}: both as the server sees them; Label Studio serves nothing else"
            )

    def prepare(self, project: int) -> None:
        """The storage that allows it."""
        self.studio.ensure_local_files(project, self.folder)

    def show(
        self, project: int, images: Sequence[OutgoingImage], *, again: bool
    ) -> Mapping[int, Shown | FileFailure]:
        """Paths below the document root."""
        below = posixpath.relpath(self.folder, self.root)
        return {
            one.image_id: {"image": f"/data/local-files/?d={quote(f'{below}/{one.key}')}"}
            for one in images
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturesByUpload:
    """They are uploaded to the project."""

    studio: LabelStudio

    def prepare(self, project: int) -> None:
        """Nothing."""

    def show(
        self, project: int, images: Sequence[OutgoingImage], *, again: bool
    ) -> Mapping[int, Shown | FileFailure]:
        """Upload them in requests of moderate size.

        What an earlier try has uploaded is known by name and size, and taken.
        """
        earlier = self._earlier(project) if again else {}
        shown: dict[int, Shown | FileFailure] = {}
        fresh: list[tuple[OutgoingImage, bytes]] = []
        for image in images:
            found = _read(image)
            if isinstance(found, FileFailure):
                shown[image.image_id] = found
            elif known := earlier.get((upload_name(image), len(found))):
                shown[image.image_id] = _shown(known)
            else:
                fresh.append((image, found))
        for group in _groups(fresh):
            files = {upload_name(image): data for image, data in group}
            there = self.studio.upload(project, files)
            for (image, _), one in zip(group, there, strict=True):
                shown[image.image_id] = _shown(one)
        return shown

    def _earlier(self, project: int) -> dict[tuple[str, int], dict[str, Any]]:
        return {
            (_PREFIX.sub("", posixpath.basename(one["file"])), int(one.get("size") or -1)): one
            for one in self.studio.uploads(project)
        }


def upload_name(image: OutgoingImage) -> str:
    """What an image's file is called: its number in the push, and its own name in plain letters."""
    name = _UNSAFE.sub("_", posixpath.basename(image.key))
    return f"{image.image_id:06d}-{name[-_LONGEST_NAME:]}"


def _shown(upload: Mapping[str, Any]) -> Shown:
    return {"image": f"/data/{upload['file']}", "file_upload_id": int(upload["id"])}


def _read(image: OutgoingImage) -> bytes | FileFailure:
    extension = extension_of(image.key)
    if extension not in SHOWN:
        return FileFailure(
            ErrorCode.NOT_TAKEN,
            f"{image.key}: browsers show no {extension or 'file without extension'}; put copies "
            "as JPEG or PNG on a web server and give --picture-urls, or convert the collection",
        )
    try:
        return read_bytes(image.uri)
    except FileFailure as failure:
        return failure


def _groups(
    files: Sequence[tuple[OutgoingImage, bytes]],
) -> Iterator[list[tuple[OutgoingImage, bytes]]]:
    group: list[tuple[OutgoingImage, bytes]] = []
    filled = 0
    for image, data in files:
        if group and (len(group) == UPLOAD_FILES or filled + len(data) > UPLOAD_BYTES):
            yield group
            group, filled = [], 0
        group.append((image, data))
        filled += len(data)
    if group:
        yield group
