"""A COCO json as work list: the ``file_name`` of each of its ``images``; nothing else is used."""

import codecs
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import ijson  # type: ignore[import-untyped]

from maskmill.pipeline.sources.entries import LazyListing, SourceRequest, Tally
from maskmill.pipeline.sources.name_list import UniqueNames, entries_of_names
from maskmill.pipeline.sources.text_list import folder_of, read_text
from maskmill.pipeline.storage.filesystems import is_uri, join_uri, read_chunks, resolve
from maskmill.schemas.errors import FileFailure, SettingsError
from maskmill.schemas.json_depth import DepthGauge
from maskmill.schemas.json_text import told_json

_PROBES = 50  # names that are looked for, and up to twice as many, before a folder is chosen


def list_coco(request: SourceRequest, tally: Tally) -> LazyListing:
    """The pictures of a COCO json, below the folder that holds them. That folder is the root.

    Raises:
        SettingsError: not such a json, a name that leaves the folder, or no folder found.
    """
    names = _Names(request.source)
    unique = _unique(names)
    if names.faults:
        tally.notes.append(
            f"{request.source}: {names.faults:,} of its images are left out, e.g. "
            f"{names.first_fault}"
        )
    folder = request.root or find_image_folder(request.source, names.probes)
    return entries_of_names(unique, folder=folder, tally=tally)


def _unique(names: "_Names") -> UniqueNames:
    """The names of a document as it is parsed; what gives none that way is read whole.

    That is JSON as Python writes it, with NaN in it, and what is no JSON or no such document:
    whoever reads it whole says why.
    """
    with suppress(ijson.JSONError, ValueError, RecursionError, FileFailure):
        found = UniqueNames(names.usable(_streamed(names.source)), names.source)
        if len(found):
            return found
    return UniqueNames(names.usable(_held(names.source)), names.source)


def _streamed(source: str) -> Iterator[Any]:
    """``images`` of the document, in its order, one at a time."""
    events: Any = ijson.sendable_list()
    parser = ijson.items_coro(events, "images.item", use_float=True)
    gauge = DepthGauge(source)
    for number, chunk in enumerate(read_chunks(source)):
        gauge.feed(chunk)
        parser.send(chunk.removeprefix(codecs.BOM_UTF8) if number == 0 else chunk)
        yield from events
        events.clear()
    parser.close()


def _held(source: str) -> Iterator[Any]:
    """The same of a document that is read whole.

    Raises:
        SettingsError: not JSON, or without a list of images, or with an empty one.
    """
    document = told_json(read_text(source), source)
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, list):
        raise SettingsError(
            f"{source} is no COCO document: it needs a list 'images', each with a 'file_name'"
        )
    if not images:
        raise SettingsError(f"{source} lists no image")
    yield from images


class _Names:
    """What has to be known of all images of a document: what is wrong, and a few names."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.faults, self.first_fault = 0, ""
        self.probes: list[str] = []  # every so many of the names

    def usable(self, images: Iterable[Any]) -> Iterator[str]:
        """Paths below a folder of pictures; entries that have none are counted.

        Raises:
            SettingsError: not one of them has.
        """
        self.faults, self.first_fault, self.probes = 0, "", []
        usable, every = 0, 1
        for image in images:
            name = image.get("file_name") if isinstance(image, dict) else None
            fault = _fault_of(name)
            if fault is not None:
                self.faults += 1
                self.first_fault = self.first_fault or f"file_name {name!r} {fault}"
                continue
            normal = posixpath.normpath(str(name))
            if usable % every == 0:
                self.probes.append(normal)
            if len(self.probes) == 2 * _PROBES:
                self.probes, every = self.probes[::2], 2 * every
            usable += 1
            yield normal
        if self.faults and not usable:
            raise SettingsError(f"{self.source} names no usable picture: {self.first_fault}")


def find_image_folder(source: str, probes: Sequence[str]) -> str:
    """The folder with most of the probes: the json's own, or one of the usual ones beside it.

    Beside ``annotations/instances_val2017.json`` these are ``../val2017`` and ``../images``.

    Raises:
        SettingsError: none of the folders holds any of them.
    """
    folders = _candidates(source)
    found = [_count(folder, probes) for folder in folders]
    if not max(found):
        raise SettingsError(
            f"none of the pictures of {source} (for example {probes[0]}) is in any of "
            f"{', '.join(folders)}; put the json beside the pictures, "
            "or beside a folder of them named images"
        )
    return folders[found.index(max(found))]


def _candidates(source: str) -> list[str]:
    own = folder_of(source)
    split = posixpath.splitext(source.partition("?")[0].rpartition("/")[2])[0].rpartition("_")[2]
    below = ("", "images", split, f"images/{split}")
    folders = [_below(own, name) for name in below]
    if not is_uri(own):
        folders += [_below(posixpath.dirname(own), name) for name in below]
    return list(dict.fromkeys(folders))


def _below(folder: str, name: str) -> str:
    return join_uri(folder, name) if name else folder


def _count(folder: str, names: Sequence[str]) -> int:
    filesystem, base = resolve(folder)
    infos = filesystem.get_file_info([f"{base}/{name}" for name in names])
    return sum(info.is_file for info in infos)


def _fault_of(name: object) -> str | None:
    """What is wrong with a ``file_name``; None where it is a path below a folder of pictures."""
    if isinstance(name, str) and "\0" in name:
        return "holds a NUL, which no file's name does"
    normal = posixpath.normpath(name) if isinstance(name, str) else "."
    if is_uri(str(name)) or normal.startswith(("/", "../")) or normal in (".", ".."):
        return "is not a path below a folder of pictures; write such paths into a text list"
    return None
