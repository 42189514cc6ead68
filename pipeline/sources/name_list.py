"""Turns names written in a document (a list, a COCO json, an ImageSets file) into entries.

A name is a path relative to the document's folder, an absolute path, or a URI. The root is the
common parent of all of them, so that keys stay as short as they can be and never leave the root.
The names stream by, and are sorted on disk to find those that repeat.
"""

import posixpath
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import pyarrow as pa

from maskmill.pipeline.sources.entries import LazyListing, SourceEntry, Tally
from maskmill.pipeline.storage.filesystems import is_uri, join_uri, local_path
from maskmill.pipeline.storage.members import is_member
from maskmill.pipeline.storage.sorted_table import SortedTable, row_tables
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.text import count_of

_NAMES = pa.schema([("name", pa.string()), ("row", pa.int64())])


class UniqueNames:
    """Names of a document, sorted on disk.

    Raises:
        SettingsError: a name that is not text in UTF-8.
    """

    def __init__(self, names: Iterable[str], document: str) -> None:
        self._document = document
        self._rows = SortedTable(self._tables(names), _NAMES, by="name")

    def __len__(self) -> int:
        """How many there are, those that repeat among them."""
        return self._rows.num_rows

    def once(self, tally: Tally, shown: Callable[[str], str] = str) -> Iterator[str]:
        """Each name once, in their own order; the tally hears of those that repeat.

        Args:
            tally: hears it when all have come.
            shown: how a name is told.
        """
        last, repeats = None, 0
        first: tuple[int, str] | None = None  # of the names that repeat: the document's first
        row_of_last = 0
        for table in self._rows:
            for name, row in zip(*(column.to_pylist() for column in table.columns), strict=True):
                if name != last:
                    yield name
                    last, row_of_last = name, row
                    continue
                repeats += 1
                row_of_last = min(row_of_last, row)
                first = min(first or (row_of_last, name), (row_of_last, name))
        if first:
            tally.notes.append(
                f"{self._document} names {count_of(repeats, 'file')} again, for example "
                f"{shown(first[1])}: each is done once"
            )

    def _tables(self, names: Iterable[str]) -> Iterator[pa.Table]:
        try:
            yield from row_tables(((name, row) for row, name in enumerate(names)), _NAMES)
        except UnicodeEncodeError as error:
            raise SettingsError(
                f"{self._document} names {error.object!r}, which is not UTF-8: tables and "
                "documents cannot hold it; rename the file"
            ) from error


class Places:
    """Places as they stream by, and what has to be known of all of them: where their keys start.

    Args:
        root: where keys start; None for the common parent of all.
        document: named in messages.
    """

    def __init__(self, root: str | None, document: str) -> None:
        self._root, self._document = root, document
        self._heads: set[str] = set()
        self._top = self._outside = ""

    def add(self, place: str) -> str:
        """One more; as it was given."""
        head, path = _head_and_path(place)
        self._heads.add(head)
        if self._root is not None:
            self._outside = self._outside or ("" if _is_below(place, self._root) else place)
        elif not self._top:
            self._top = posixpath.commonpath([posixpath.dirname(path)])
        elif not path.startswith(self._top.rstrip("/") + "/") and len(self._heads) == 1:
            self._top = posixpath.commonpath([self._top, posixpath.dirname(path)])
        return place

    def root(self) -> str:
        """Where the keys start, once all have been added.

        Raises:
            SettingsError: places on different filesystems, or one outside the root.
        """
        if self._root is not None:
            if self._outside:
                raise SettingsError(
                    f"{self._document} names {self._outside}, which is outside the root "
                    f"{self._root}"
                )
            return self._root
        if len(self._heads) > 1:
            raise SettingsError(
                f"{self._document} names files on different filesystems "
                f"({', '.join(sorted(self._heads))}); make one list for each"
            )
        head = next(iter(self._heads))
        return head + quote(self._top) if head else self._top


def entries_of_names(
    names: UniqueNames, *, folder: str, root: str | None = None, tally: Tally
) -> LazyListing:
    """The entries of the names, each place once, sorted by what is written.

    Args:
        names: paths below ``folder``, or places below ``root``.
        folder: where relative names start; two of them that differ are two places.
        root: where keys start; None for ``folder``.
        tally: hears of names that repeat.
    """
    top = place_of(folder if root is None else root, str(Path.cwd()))
    places = (
        place_of(name, folder) for name in names.once(tally, lambda one: place_of(one, folder))
    )
    return LazyListing(top, (_entry(place, top) for place in places))


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


def file_size(place: str) -> int | None:
    """Bytes of a local file; None where it is missing or remote (one request each is too slow)."""
    path = local_path(place)
    try:
        return None if path is None else Path(path).stat().st_size
    except OSError:
        return None


def _is_below(place: str, root: str) -> bool:
    """Whether a place lies below a folder, by their names."""
    own_head, path = _head_and_path(place)
    head, top = _head_and_path(root)
    return own_head == head and path.startswith(top.rstrip("/") + "/")


def _entry(place: str, root: str) -> SourceEntry:
    prefix = len(_head_and_path(root)[1].rstrip("/")) + 1
    return SourceEntry(_head_and_path(place)[1][prefix:], place, file_size(place))


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
