"""A text file with one path, or URI, per line; blank lines and lines that start with # are skipped.

Relative paths start at the folder of the list. Every line is taken, whatever its extension; a file
that is missing becomes a failed row of the run. A first line ``# root: FOLDER`` says where keys
start; `select` and `duplicates` write it, so that images keep the keys they have in their run.
"""

import codecs
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from maskmill.pipeline.sources.entries import LazyListing, SourceRequest, Tally
from maskmill.pipeline.sources.name_list import Places, UniqueNames, entries_of_names, place_of
from maskmill.pipeline.storage.filesystems import is_uri, local_path, read_bytes, read_chunks
from maskmill.schemas.errors import FileFailure, SettingsError

ROOT_MARK: Final = "# root: "
_OF_THE_WEB: Final = ("http://", "https://", "ftp://", "ftps://")


def list_text(request: SourceRequest, tally: Tally) -> LazyListing:
    """The files that a text list names.

    Raises:
        SettingsError: not text in UTF-8, no path in it, addresses of the web, or paths that start
            somewhere else.
    """
    source = request.source
    lines, told = lines_and_root(source)
    folder = folder_of(source) if request.root is None else request.root
    root = told if request.root is None else request.root
    places = Places(None if root is None else place_of(root, str(Path.cwd())), source)
    names = _Names(source, folder)
    unique = UniqueNames(map(places.add, names.places(lines)), source)
    names.refuse()
    return entries_of_names(unique, folder=folder, root=places.root(), tally=tally)


def lines_and_root(source: str) -> tuple[Iterator[str], str | None]:
    """The lines of a list, one by one, and where it says that keys start.

    Raises:
        SettingsError: as :func:`read_lines`; of what comes later, while the lines are read.
    """
    texts = _texts(source)
    head = next(texts, "")
    first = head.partition("\n")[0].strip()
    root = first.removeprefix(ROOT_MARK) if first.startswith(ROOT_MARK) else None
    return _lines(chain([head], texts), source), root


def read_lines(source: str) -> Iterator[str]:
    """The lines of a text file that say something, without blanks at their ends.

    Raises:
        SettingsError: it cannot be read, is not UTF-8, or holds no such line; while they are read.
    """
    return _lines(_texts(source), source)


def _lines(texts: Iterable[str], source: str) -> Iterator[str]:
    found = False
    for line in map(str.strip, _split(texts)):
        if line and not line.startswith("#"):
            found = True
            yield line
    if not found:
        raise SettingsError(f"the list {source} names no file")


def _split(texts: Iterable[str]) -> Iterator[str]:
    """Text that comes in pieces, by lines."""
    rest = ""
    for text in texts:
        *whole, rest = (rest + text).splitlines(keepends=True) or [""]
        yield from whole
    yield rest


def _texts(source: str) -> Iterator[str]:
    """The text of a file, some of it at a time."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    decoded = 0
    try:
        for chunk in chain(read_chunks(source), [b""]):
            held = len(decoder.getstate()[0])
            yield decoder.decode(chunk, final=not chunk)
            decoded += len(chunk)
    except UnicodeDecodeError as error:
        raise _no_text(source, decoded - held + error.start) from error
    except FileFailure as error:
        raise _unread(error) from error


def read_text(source: str) -> str:
    """The whole text of a work list.

    Raises:
        SettingsError: it cannot be read, or is not UTF-8.
    """
    try:
        return read_bytes(source).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _no_text(source, error.start) from error
    except FileFailure as error:
        raise _unread(error) from error


def _no_text(source: str, place: int) -> SettingsError:
    return SettingsError(f"{source} is not a text file in UTF-8 (byte {place})")


def _unread(failure: FileFailure) -> SettingsError:
    return SettingsError(f"cannot read the work list: {failure}")


def folder_of(source: str) -> str:
    """The folder of a document, as local path or URI with its options."""
    path = local_path(source)
    if path is not None:
        return posixpath.dirname(path)
    head, mark, options = source.partition("?")
    return head.rpartition("/")[0] + mark + options


@dataclass(slots=True)
class _Names:
    """What has to be known of all names of a list before one of them is taken."""

    source: str
    folder: str  # where relative names start
    count: int = 0
    urls: int = 0
    first_url: str = ""
    relative: int = 0
    first_relative: str = ""
    one_exists: bool = False  # of the relative ones

    def places(self, names: Iterable[str]) -> Iterator[str]:
        """The place of each name; addresses of the web have none."""
        for name in names:
            self.count += 1
            if name.lower().startswith(_OF_THE_WEB):
                self.urls += 1
                self.first_url = self.first_url or name
                continue
            place = place_of(name, self.folder)
            if not is_uri(name) and not posixpath.isabs(name):
                self.relative += 1
                self.first_relative = self.first_relative or name
                self.one_exists = self.one_exists or is_uri(place) or posixpath.exists(place)
            yield place

    def refuse(self) -> None:
        """Once all have come.

        Raises:
            SettingsError: addresses of the web, or a list that was written for the working folder
                and not for its own.
        """
        if self.urls:
            raise SettingsError(
                f"the list {self.source} names {self.urls:,} of {self.count:,} pictures by "
                f"addresses of the web, first {self.first_url}: they are not fetched, for a run "
                "that goes on later, or is verified, must find the same bytes, and the web "
                "promises none. Download them first (wget --input-file, or img2dataset, whose tars "
                "are read as they are), and give the folder or a list of its files"
            )
        if self.relative and not self.one_exists and posixpath.exists(self.first_relative):
            raise SettingsError(
                f"none of the {self.relative} relative paths in {self.source} exists below "
                f"{self.folder}, where a list's paths start; {self.first_relative} exists below "
                f"{Path.cwd()}: move the list there, or write absolute paths into it"
            )
