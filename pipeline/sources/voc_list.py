"""A Pascal VOC ``ImageSets/<task>/<set>.txt``: ids, one per line, of ``JPEGImages/<id>.jpg``.

In ``ImageSets/Main`` an id may be followed by 1, 0 or -1 (class present, difficult, absent):
the absent ones are not taken, and counted. Facts: VOC2012 development kit.
"""

import posixpath

from maskmill.pipeline.pictures.names import extension_of
from maskmill.pipeline.sources.entries import LazyListing, SourceRequest, Tally
from maskmill.pipeline.sources.name_list import UniqueNames, entries_of_names
from maskmill.pipeline.sources.text_list import folder_of, read_lines
from maskmill.pipeline.storage.filesystems import is_uri, join_uri, local_path, resolve
from maskmill.schemas.errors import SettingsError

_FOLDER = "JPEGImages"


def is_voc_list(source: str) -> bool:
    """True for a text file two folders below a folder that also holds ``JPEGImages``."""
    if is_uri(source) and local_path(source) is None:
        return "/ImageSets/" in source
    path = str(local_path(source))
    images = posixpath.join(posixpath.dirname(path), "..", "..", _FOLDER)
    return "ImageSets" in path.split("/") and posixpath.isdir(images)


def list_voc(request: SourceRequest, tally: Tally) -> LazyListing:
    """The pictures of an ImageSets list; the root is ``JPEGImages``, or ``request.root``.

    Raises:
        SettingsError: lines that are not an id, or an id and a flag, or no folder of pictures.
    """
    folder = request.root or _image_folder(request.source)
    filesystem, place = resolve(folder)
    if filesystem.get_file_info(place).type.name != "Directory":
        raise SettingsError(f"{request.source} is no VOC list: there is no folder {folder}")
    names = (_file_name(line, request.source, tally) for line in read_lines(request.source))
    taken = UniqueNames((name for name in names if name is not None), request.source)
    if not len(taken):
        raise SettingsError(f"{request.source}: every id is marked -1 (class absent)")
    return entries_of_names(taken, folder=folder, tally=tally)


def _image_folder(source: str) -> str:
    top = folder_of(source)
    if not is_uri(top):
        return posixpath.normpath(posixpath.join(top, "..", "..", _FOLDER))
    head, mark, options = top.partition("?")
    devkit = head.rpartition("/ImageSets")[0] or head
    return join_uri(devkit + mark + options, _FOLDER)


def _file_name(line: str, source: str, tally: Tally) -> str | None:
    fields = line.split()
    if len(fields) > 2 or (len(fields) == 2 and fields[1] not in ("1", "0", "-1")):
        raise SettingsError(
            f"{source}: {line!r} is not an image id, or an id with 1, 0 or -1; "
            "a list of paths lies outside ImageSets"
        )
    if fields[1:] == ["-1"]:
        tally.not_considered["marked -1"] += 1
        return None
    name = posixpath.normpath(fields[0])
    if name.startswith(("/", "..")):
        raise SettingsError(f"{source}: {name!r} is not an image id")
    return name if extension_of(name) == ".jpg" else f"{name}.jpg"
