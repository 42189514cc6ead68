"""SOURCES: the kinds of source, and the one function that lists any of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pkgutil import resolve_name

import pyarrow as pa

from maskmill.pipeline.pictures.names import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS, extension_of
from maskmill.pipeline.sources.entries import (
    LazyListing,
    SourceEntry,
    SourceRequest,
    Tally,
)
from maskmill.pipeline.sources.frame_choice import FrameChoice
from maskmill.pipeline.sources.glob_pattern import has_wildcard
from maskmill.pipeline.sources.videos import with_frames
from maskmill.pipeline.sources.voc_list import is_voc_list
from maskmill.pipeline.storage.filesystems import is_uri, local_path, reason_of, resolve
from maskmill.pipeline.storage.sorted_table import SortedTable, row_tables
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.text import count_of

SOURCES: dict[str, str] = {
    "folder": "maskmill.pipeline.sources.folder:list_folder",
    "glob": "maskmill.pipeline.sources.glob_pattern:list_glob",
    "file": "maskmill.pipeline.sources.one_file:list_one_file",
    "list": "maskmill.pipeline.sources.text_list:list_text",
    "coco": "maskmill.pipeline.sources.coco_list:list_coco",
    "voc": "maskmill.pipeline.sources.voc_list:list_voc",
    "zip": "maskmill.pipeline.sources.archive_members:list_zip",
    "tar": "maskmill.pipeline.sources.archive_members:list_tar",
    "parquet": "maskmill.pipeline.sources.parquet_rows:list_parquet",
    "video": "maskmill.pipeline.sources.videos:list_video",
}
"""Kind -> ``(SourceRequest, Tally) -> LazyListing``. Imported when used."""

KIND_OF_EXTENSION: dict[str, str] = {
    ".txt": "list",
    ".lst": "list",
    ".json": "coco",
    ".zip": "zip",
    ".tar": "tar",
    ".tgz": "tar",  # refused there, with the remedy
    ".gz": "tar",
    ".parquet": "parquet",
    **dict.fromkeys(VIDEO_EXTENSIONS, "video"),
}
"""Which kind a file is when it is no picture."""

ENTRIES = pa.schema(
    [
        pa.field("key", pa.string(), False),
        pa.field("uri", pa.string(), False),
        pa.field("bytes", pa.int64()),
    ]
)
GLOBBED_KINDS = ("zip", "tar", "parquet")
"""Kinds that take a glob of their files: ``shards/*.tar``."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A finished work list. ``rows`` have ENTRIES' columns and are sorted by key (code points)."""

    source: str
    kind: str
    root: str
    rows: SortedTable
    not_considered: dict[str, int]  # extension -> files seen and not taken
    notes: tuple[str, ...]  # what the user should hear: repeats, links not followed
    videos: int = 0  # whose frames are among the rows, or that cannot be read

    def __len__(self) -> int:
        return self.rows.num_rows

    @property
    def table(self) -> pa.Table:
        """All rows in memory: for what cannot do with some at a time."""
        return self.rows.table

    @property
    def entries(self) -> Iterator[SourceEntry]:
        """The entries in key order."""
        for table in self.rows:
            yield from map(SourceEntry, *(column.to_pylist() for column in table.columns))


def list_source(
    source: str,
    *,
    kind: str | None = None,
    root: str | None = None,
    exclude: tuple[str, ...] = (),
    frames: FrameChoice | None = None,
) -> Listing:
    """List a source of any kind; only names and sizes are read, never a picture.

    Videos, where they are taken, are read once: each of their frames is an entry.

    Args:
        source: a path, glob or URI.
        kind: a key of SOURCES; None to find out.
        root: where relative names of a list start, and keys with them.
        exclude: folders never entered, such as the output folder.
        frames: which frames of videos are taken; None where videos are no pictures.

    Raises:
        SettingsError: the source does not exist, holds no picture, or is not of that kind; frames
            are chosen, and there is no video.
    """
    kind = kind or kind_of(source)
    if kind not in SOURCES:
        raise SettingsError(f"no kind of source {kind!r}; there are: {', '.join(SOURCES)}")
    tally = Tally()
    request = SourceRequest(source=str(source), root=root, exclude=exclude, frames=frames)
    try:
        lazy = _lister(kind)(request, tally)
        rows = sorted_entries(with_frames(lazy.entries, request, tally))
    except OSError as error:
        raise SettingsError(f"cannot list {source} as {kind}: {reason_of(error)}") from error
    if not rows.num_rows:
        raise SettingsError(_nothing_found(source, tally))
    if frames is not None and frames != FrameChoice() and not tally.videos:
        raise SettingsError(
            f"--every, --fps, --from and --to choose frames of videos, and {source} holds no video "
            "that is read; leave them out"
        )
    counts = dict(sorted(tally.not_considered.items()))
    return Listing(str(source), kind, lazy.root, rows, counts, tuple(tally.notes), tally.videos)


def kind_of(source: str) -> str:
    """The kind of a source, from what is there and from its name.

    Raises:
        SettingsError: it does not exist, or its kind cannot be told.
    """
    filesystem, path = resolve(source)
    try:
        info = filesystem.get_file_info(path)
    except OSError as error:
        raise SettingsError(f"cannot look at {source}: {reason_of(error)}") from error
    if info.type.name == "Directory":
        return "folder"
    if info.type.name == "NotFound":
        return _kind_of_missing(source)
    extension = extension_of(path)
    kind = KIND_OF_EXTENSION.get(extension, "file" if extension in IMAGE_EXTENSIONS else None)
    if kind is None:
        raise SettingsError(
            f"cannot tell what {source} is: {extension or 'no extension'} is neither a picture "
            f"({', '.join(sorted(IMAGE_EXTENSIONS))}) nor a video, work list or container "
            f"({', '.join(sorted(KIND_OF_EXTENSION))})"
        )
    return "voc" if kind == "list" and is_voc_list(source) else kind


def _kind_of_missing(source: str) -> str:
    if not has_wildcard(source):
        shown = source if is_uri(source) else local_path(source)
        raise SettingsError(f"the source {shown} does not exist; check the path")
    inner = KIND_OF_EXTENSION.get(extension_of(source.partition("?")[0]))
    return inner if inner in GLOBBED_KINDS else "glob"


def _lister(kind: str) -> Callable[[SourceRequest, Tally], LazyListing]:
    lister: Callable[[SourceRequest, Tally], LazyListing] = resolve_name(SOURCES[kind])
    return lister


def sorted_entries(entries: Iterator[SourceEntry]) -> SortedTable:
    """Entries by key, as columns and beyond some of them on disk: millions of names stay small."""
    return SortedTable(_tables(entries), ENTRIES, by="key")


def _tables(entries: Iterator[SourceEntry]) -> Iterator[pa.Table]:
    return row_tables(((entry.key, entry.uri, entry.size) for entry in entries), ENTRIES)


def _nothing_found(source: str, tally: Tally) -> str:
    others = sum(tally.not_considered.values())
    told = f" ({'; '.join(tally.notes)})" if tally.notes else ""
    if not others:
        return f"no image found in {source}: it is empty, or nothing matches{told}"
    counts = ", ".join(f"{name} {count}" for name, count in tally.not_considered.most_common())
    return (
        f"no image found in {source}; {count_of(others, 'file')} of other kinds not considered: "
        f"{counts}{told}"
    )
