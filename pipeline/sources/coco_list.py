"""A COCO json as work list: the ``file_name`` of each of its ``images``; nothing else is used."""

import posixpath
from collections.abc import Sequence
from typing import Any

from maskmill.pipeline.sources.entries import LazyListing, SourceRequest, Tally
from maskmill.pipeline.sources.name_list import entries_of_names
from maskmill.pipeline.sources.text_list import folder_of, read_text
from maskmill.pipeline.storage.filesystems import is_uri, join_uri, resolve
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.json_text import told_json

_PROBES = 50  # names looked for before a folder is chosen


def list_coco(request: SourceRequest, tally: Tally) -> LazyListing:
    """The pictures of a COCO json, below the folder that holds them. That folder is the root.

    Raises:
        SettingsError: not such a json, a name that leaves the folder, or no folder found.
    """
    names, faults = usable_names(read_entries(request.source), request.source)
    if faults:
        tally.notes.append(
            f"{request.source}: {len(faults):,} of its images are left out, e.g. {faults[0]}"
        )
    folder = request.root or find_image_folder(request.source, names)
    return entries_of_names(names, folder=folder, root=folder, document=request.source, tally=tally)


def read_entries(source: str) -> list[Any]:
    """``images`` of the document, in its order.

    Raises:
        SettingsError: not JSON, or without a list of images.
    """
    document = told_json(read_text(source), source)
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, list):
        raise SettingsError(
            f"{source} is no COCO document: it needs a list 'images', each with a 'file_name'"
        )
    if not images:
        raise SettingsError(f"{source} lists no image")
    return images


def usable_names(images: Sequence[Any], source: str) -> tuple[list[str], list[str]]:
    """Paths below a folder of pictures, and a sentence for each entry that has none.

    Raises:
        SettingsError: not one of them has.
    """
    names, faults = [], []
    for image in images:
        name = image.get("file_name") if isinstance(image, dict) else None
        fault = _fault_of(name)
        if fault is None:
            names.append(posixpath.normpath(str(name)))
        else:
            faults.append(f"file_name {name!r} {fault}")
    if not names:
        raise SettingsError(f"{source} names no usable picture: {faults[0]}")
    return names, faults


def find_image_folder(source: str, names: list[str]) -> str:
    """The folder with most of the first names: the json's own, or one of the usual ones beside it.

    Beside ``annotations/instances_val2017.json`` these are ``../val2017`` and ``../images``.

    Raises:
        SettingsError: none of the folders holds any of them.
    """
    folders = _candidates(source)
    probes = names[:: max(1, len(names) // _PROBES)][:_PROBES]
    found = [_count(folder, probes) for folder in folders]
    if not max(found):
        raise SettingsError(
            f"none of the pictures of {source} (for example {names[0]}) is in any of "
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


def _count(folder: str, names: list[str]) -> int:
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
