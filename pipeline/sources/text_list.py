"""A text file with one path, or URI, per line; blank lines and lines that start with # are skipped.

Relative paths start at the folder of the list. Every line is taken, whatever its extension; a file
that is missing becomes a failed row of the run. A first line ``# root: FOLDER`` says where keys
start; `select` and `duplicates` write it, so that images keep the keys they have in their run.
"""

import posixpath
from pathlib import Path
from typing import Final

from maskmill.pipeline.sources.entries import LazyListing, SourceRequest, Tally
from maskmill.pipeline.sources.name_list import entries_of_names, place_of
from maskmill.pipeline.storage.filesystems import is_uri, local_path, read_bytes
from maskmill.schemas.errors import FileFailure, SettingsError

ROOT_MARK: Final = "# root: "
_OF_THE_WEB: Final = ("http://", "https://", "ftp://", "ftps://")


def list_text(request: SourceRequest, tally: Tally) -> LazyListing:
    """The files that a text list names, in its order.

    Raises:
        SettingsError: not text in UTF-8, no path in it, addresses of the web, or paths that start
            somewhere else.
    """
    names, told = lines_and_root(request.source)
    _refuse_urls(names, request.source)
    folder = folder_of(request.source) if request.root is None else request.root
    _refuse_wrong_start(names, folder, request.source)
    root = told if request.root is None else request.root
    return entries_of_names(names, folder=folder, root=root, document=request.source, tally=tally)


def lines_and_root(source: str) -> tuple[list[str], str | None]:
    """The lines of a list, and where it says that keys start.

    Raises:
        SettingsError: as :func:`read_lines`.
    """
    text = read_text(source)
    first = text.partition("\n")[0].strip()
    root = first.removeprefix(ROOT_MARK) if first.startswith(ROOT_MARK) else None
    return _lines(text, source), root


def read_lines(source: str) -> list[str]:
    """The lines of a text file that say something, without blanks at their ends.

    Raises:
        SettingsError: it cannot be read, is not UTF-8, or holds no such line.
    """
    return _lines(read_text(source), source)


def _lines(text: str, source: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise SettingsError(f"the list {source} names no file")
    return lines


def read_text(source: str) -> str:
    """The text of a work list.

    Raises:
        SettingsError: it cannot be read, or is not UTF-8.
    """
    try:
        return read_bytes(source).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{source} is not a text file in UTF-8 (byte {error.start})") from error
    except FileFailure as error:
        raise SettingsError(f"cannot read the work list: {error}") from error


def folder_of(source: str) -> str:
    """The folder of a document, as local path or URI with its options."""
    path = local_path(source)
    if path is not None:
        return posixpath.dirname(path)
    head, mark, options = source.partition("?")
    return head.rpartition("/")[0] + mark + options


def _refuse_urls(names: list[str], source: str) -> None:
    urls = [name for name in names if name.lower().startswith(_OF_THE_WEB)]
    if urls:
        raise SettingsError(
            f"the list {source} names {len(urls):,} of {len(names):,} pictures by addresses of the "
            f"web, first {urls[0]}: they are not fetched, for a run that goes on later, or is "
            "verified, must find the same bytes, and the web promises none. Download them first "
            "(wget --input-file, or img2dataset, whose tars are read as they are), and give the "
            "folder or a list of its files"
        )


def _refuse_wrong_start(names: list[str], folder: str, source: str) -> None:
    """Say it when a list was written for the working folder and not for its own."""
    relative = [name for name in names if not is_uri(name) and not posixpath.isabs(name)]
    if not relative or is_uri(folder):
        return
    if any(posixpath.exists(place_of(name, folder)) for name in relative):
        return
    if posixpath.exists(relative[0]):
        raise SettingsError(
            f"none of the {len(relative)} relative paths in {source} exists below {folder}, "
            f"where a list's paths start; {relative[0]} exists below {Path.cwd()}: "
            "move the list there, or write absolute paths into it"
        )
