"""The files of a dataset under one root, be it a folder on any filesystem, a zip or a tar."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO, Final, Protocol, cast, overload

import pyarrow as pa
from pyarrow import fs

from maskmill.pipeline.pictures.names import IMAGE_EXTENSIONS, extension_of, is_hidden
from maskmill.pipeline.storage.archives import TarArchive, ZipArchive, safe_member_name
from maskmill.pipeline.storage.filesystems import infos_of, resolve
from maskmill.pipeline.storage.sorted_table import row_tables
from maskmill.schemas.errors import DocumentFailure, ErrorCode, SettingsError

_NAMES: Final = pa.schema([("name", pa.string())])
_AT_ONCE: Final = 8192


class FileTree(Protocol):
    """Files by posix name relative to one root. Reading never leaves the root."""

    def __hash__(self) -> int: ...

    @property
    def uri(self) -> str:
        """Where the tree is, as the user gave it."""
        ...

    @property
    def selected(self) -> str | None:
        """The one file the user pointed at; None where the whole tree is meant."""
        ...

    def tops(self) -> frozenset[str]:
        """Names of the files and folders at the top; of one selected file only that."""
        ...

    def names(self) -> Sequence[str]:
        """Every file but hidden ones, sorted."""
        ...

    def hidden(self) -> tuple[str, ...]:
        """Files whose name, or a folder's on the way, begins with a dot, and macOS's shadows."""
        ...

    def has(self, name: str) -> bool:
        """True where the file is there; never lists the tree."""
        ...

    def read(self, name: str) -> bytes:
        """All bytes of a file.

        Raises:
            FileFailure: unsafe name, no such file, or damaged.
        """
        ...

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """``length`` bytes from offset ``start`` (fewer at the end of the file)."""
        ...

    def open(self, name: str) -> BinaryIO:
        """A file to read and seek in, for those who need only parts of it."""
        ...


class _SortedNames(Sequence[str]):
    """Names in their order, as one column: a third of what they take as texts of Python's own."""

    def __init__(self, names: Iterable[str]) -> None:
        tables = row_tables(((name,) for name in names), _NAMES)
        column = pa.concat_tables([_NAMES.empty_table(), *tables])["name"].combine_chunks()
        self._column = column.sort()

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        return str(self._column[place].as_py())

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _AT_ONCE):
            yield from self._column.slice(first, _AT_ONCE).to_pylist()


@dataclass(frozen=True, slots=True)
class _Names:
    """The files of a tree, sorted, those that are hidden apart."""

    shown: Sequence[str]
    hidden: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str], keep: Callable[[Iterable[str]], Sequence[str]]) -> "_Names":
        """``keep`` makes a sorted sequence."""
        hidden: list[str] = []

        def some() -> Iterator[str]:
            for name in names:
                if is_hidden(name):
                    hidden.append(name)
                else:
                    yield name

        return cls(keep(some()), tuple(sorted(hidden)))


@contextmanager
def _legible(uri: str) -> Iterator[None]:
    """Names that Arrow cannot decode are refused in words."""
    try:
        yield
    except UnicodeDecodeError as error:
        name = error.object.decode("utf-8", "backslashreplace")
        raise SettingsError(f"{uri}: the name {name} is not UTF-8; rename the file") from error


class FolderTree:
    """A folder on any pyarrow filesystem."""

    def __init__(
        self, uri: str, filesystem: fs.FileSystem, root: str, selected: str | None = None
    ) -> None:
        self.uri = uri
        self.selected = selected
        self._filesystem = filesystem
        self._root = root.rstrip("/")

    @cached_property
    def _tops(self) -> frozenset[str]:
        found = self._filesystem.get_file_info(fs.FileSelector(self._root or "/"))
        with _legible(self.uri):
            return frozenset(info.base_name for info in found)

    def tops(self) -> frozenset[str]:
        """Files and folders directly under the root."""
        return self._tops if self.selected is None else frozenset([self.selected])

    @cached_property
    def _names(self) -> "_Names":
        selector = fs.FileSelector(self._root or "/", recursive=True)
        start = len(self._root) + 1
        found = infos_of(self._filesystem, selector)
        files = (info.path[start:] for info in found if info.type == fs.FileType.File)
        with _legible(self.uri):
            return _Names.of(files, _SortedNames)

    def names(self) -> Sequence[str]:
        """Every file under the root, sorted."""
        return self._names.shown

    def hidden(self) -> tuple[str, ...]:
        """Files under the root that are no part of the dataset."""
        return self._names.hidden

    def has(self, name: str) -> bool:
        """True where the file is there."""
        return bool(self._filesystem.get_file_info(self._path(name)).type == fs.FileType.File)

    def read(self, name: str) -> bytes:
        """All bytes of a file."""
        try:
            with self._filesystem.open_input_file(self._path(name)) as stream:
                return bytes(stream.read())
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self.uri, name, error) from error

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """``length`` bytes from offset ``start``."""
        try:
            with self._filesystem.open_input_file(self._path(name)) as stream:
                return bytes(stream.read_at(length, start))
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self.uri, name, error) from error

    def open(self, name: str) -> BinaryIO:
        """The file, opened where it lies."""
        try:
            stream = self._filesystem.open_input_file(self._path(name))
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self.uri, name, error) from error
        return cast(BinaryIO, stream)

    def _path(self, name: str) -> str:
        return f"{self._root}/{safe_member_name(name, self.uri)}"


class ArchiveTree:
    """The files of a zip or tar."""

    def __init__(self, uri: str, archive: ZipArchive | TarArchive) -> None:
        self.uri = uri
        self.selected: str | None = None
        self._archive = archive
        self._unpacked = ("", b"")

    @cached_property
    def _names(self) -> "_Names":
        return _Names.of((member.name for member in self._archive.members()), sorted)

    def tops(self) -> frozenset[str]:
        """First parts of the members' names."""
        return frozenset(name.partition("/")[0] for name in self.names())

    def names(self) -> Sequence[str]:
        """Every regular member, sorted."""
        return self._names.shown

    def hidden(self) -> tuple[str, ...]:
        """Members that are no part of the dataset."""
        return self._names.hidden

    def has(self, name: str) -> bool:
        """True where the member is there."""
        return self._archive.has(name)

    def read(self, name: str) -> bytes:
        """The unpacked bytes of a member."""
        return self._archive.read(safe_member_name(name, self.uri))

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """A slice of the unpacked bytes; the member last asked for stays unpacked."""
        if self._unpacked[0] != name:
            self._unpacked = name, self.read(name)
        return self._unpacked[1][start : start + length]

    def open(self, name: str) -> BinaryIO:
        """The unpacked bytes of a member."""
        return io.BytesIO(self.read(name))


def open_tree(uri: str) -> FileTree:
    """The tree at a folder, a ``.zip``, a ``.tar``, or around one document file.

    Raises:
        SettingsError: nothing is there.
        ArchiveFailure: an archive that is damaged or unsafe.
    """
    filesystem, path = resolve(uri)
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.NotFound:
        raise SettingsError(f"there is nothing at {uri}; check the path")
    if info.type == fs.FileType.Directory:
        return FolderTree(uri, filesystem, path)
    if path.lower().endswith(".zip"):
        return ArchiveTree(uri, ZipArchive(filesystem.open_input_file(path), uri))
    if path.lower().endswith(".tar"):
        return ArchiveTree(uri, TarArchive(filesystem.open_input_file(path), uri))
    root, _, name = path.rpartition("/")
    return FolderTree(uri, filesystem, root, selected=name)


def hidden_note(tree: FileTree) -> tuple[str, ...]:
    """A sentence about pictures that are hidden, and so no part of a dataset; none without."""
    found = [name for name in tree.hidden() if extension_of(name) in IMAGE_EXTENSIONS]
    if not found:
        return ()
    return (f"{len(found):,} hidden files are left out, {found[0]} first (.*, __MACOSX)",)


def exists(uri: str) -> bool:
    """True where a file or folder is there."""
    filesystem, path = resolve(uri)
    return bool(filesystem.get_file_info(path).type != fs.FileType.NotFound)


def documents(tree: FileTree, *suffixes: str) -> list[str]:
    """The files that end with one of ``suffixes``: the one selected, or all of the tree.

    Raises:
        DocumentFailure: there is none.
    """
    if tree.selected is not None:
        return [tree.selected]
    found = [name for name in tree.names() if name.lower().endswith(suffixes)]
    if not found:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{tree.uri} holds no {' or '.join(suffixes)} file"
        )
    return found


def _unreadable(uri: str, name: str, error: Exception) -> DocumentFailure:
    if isinstance(error, FileNotFoundError):
        return DocumentFailure(ErrorCode.VANISHED, f"{uri} has no file {name!r}")
    if isinstance(error, PermissionError):
        return DocumentFailure(ErrorCode.PERMISSION_DENIED, f"{uri}: {name!r} may not be read")
    return DocumentFailure(ErrorCode.UNREADABLE, f"{uri}: {name!r} cannot be read: {error}")
