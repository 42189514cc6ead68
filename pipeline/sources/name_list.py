"""Turns names written in a document (a list, a COCO json, an ImageSets file) into entries.

A name is a path relative to the document's folder, an absolute path, or a URI. The root is the
common parent of all of them, so that keys stay as short as they can be and never leave the root.
"""

import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from maskmill.pipeline.sources.entries import LazyListing, SourceEntry, Tally
from maskmill.pipeline.storage.filesystems import is_uri, join_uri, local_path
from maskmill.pipeline.storage.members import is_member
from maskmill.schemas.errors import SettingsError


def entries_of_names(
    names: Sequence[str], *, folder: str, root: str | None, document: str, tally: Tally
) -> LazyListing:
    """The entries of the names, in their order, each place once.

    Args:
        names: as written in the document.
        folder: where relative names start.
        root: where keys start; None for the common parent.
        document: named in messages.
        tally: hears of names that repeat.

    Raises:
        SettingsError: local and remote names in one list, or a name outside ``root``.
    """
    places = _unique([place_of(name, folder) for name in names], document, tally)
    top = common_parent(places, document) if root is None else place_of(root, str(Path.cwd()))
    return LazyListing(top, _entries(places, top, document))


def place_of(name: str, folder: str) -> str:
    """The absolute local path or the URI of a name, without ``.`` and ``..`` on the way."""
    if is_uri(name):
        path = local_path(name)
        if path is not None:
            return path
        return name if is_member(name) else _normal_uri(name)
    if is_uri(folder) and not name.startswith("/"):
        return _normal_uri(join_uri(folder, posixpath.normpath(name)))
    return posixpath.normpath(posixpath.join(folder, name))


def common_parent(places: Sequence[str], document: str) -> str:
    """The deepest folder that holds every place.

    Raises:
        SettingsError: the places lie on different filesystems.
    """
    heads = {_head_and_path(place)[0] for place in places}
    if len(heads) > 1:
        raise SettingsError(
            f"{document} names files on different filesystems ({', '.join(sorted(heads))}); "
            "make one list for each"
        )
    paths = [posixpath.dirname(_head_and_path(place)[1]) for place in places]
    head, top = heads.pop(), posixpath.commonpath(paths)
    return head + quote(top) if head else top


def file_size(place: str) -> int | None:
    """Bytes of a local file; None where it is missing or remote (one request each is too slow)."""
    path = local_path(place)
    try:
        return None if path is None else Path(path).stat().st_size
    except OSError:
        return None


def _entries(places: Sequence[str], root: str, document: str) -> Iterator[SourceEntry]:
    head, top = _head_and_path(root)
    prefix = top.rstrip("/") + "/"
    for place in places:
        own_head, path = _head_and_path(place)
        if own_head != head or not path.startswith(prefix):
            raise SettingsError(f"{document} names {place}, which is outside the root {root}")
        yield SourceEntry(path[len(prefix) :], place, file_size(place))


def _unique(places: Sequence[str], document: str, tally: Tally) -> list[str]:
    unique = list(dict.fromkeys(places))
    repeats = len(places) - len(unique)
    if repeats:
        first = next(place for place, count in Counter(places).items() if count > 1)
        tally.notes.append(
            f"{document} names {repeats} file{'s' * (repeats > 1)} again, for example {first}: "
            "each is done once"
        )
    return unique


def _head_and_path(place: str) -> tuple[str, str]:
    """('', path) of a local path; ('scheme://authority', path without quotes) of a URI."""
    if not is_uri(place):
        return "", place
    scheme, _, rest = place.partition("?")[0].partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority}", unquote(slash + path)


def _normal_uri(uri: str) -> str:
    head, path = _head_and_path(uri)
    _, mark, options = uri.partition("?")
    return head + quote(posixpath.normpath(path or "/")) + mark + options
