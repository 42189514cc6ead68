"""What a source hands over: entries one by one, and the tally of what it left out."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from maskmill.pipeline.pictures.names import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS, extension_of
from maskmill.pipeline.sources.frame_choice import FrameChoice

OF_A_RUN: Final = "of a run"
"""What pictures of a run are counted as that are not considered."""


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One picture of the work list. ``uri`` is what ``read_bytes`` takes; ``size`` in bytes."""

    key: str  # posix path relative to the root of the source
    uri: str
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRequest:
    """What to list: a path, glob or URI; ``root`` overrules where relative names start.

    ``exclude`` are folders never entered: an output folder that lies inside the source. ``frames``
    says which frames of videos are taken; None: videos are no pictures. ``run_files`` are names of
    files, relative to a folder, that together make it the folder of a run: such folders below a
    folder are left out.
    """

    source: str
    root: str | None = None
    exclude: tuple[str, ...] = ()
    frames: FrameChoice | None = None
    run_files: tuple[str, ...] = ()


@dataclass(slots=True)
class Tally:
    """What was seen and not taken, by extension, and what the user should hear. Filled lazily.

    ``videos``: how many were opened for their frames, sound or not. ``runs``: folders that are
    runs, as beginnings of keys; pictures listed before theirs was seen are still among the entries.
    """

    not_considered: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    videos: int = 0
    runs: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LazyListing:
    """Where the keys start, and the entries in any order; reading them fills the tally."""

    root: str
    entries: Iterator[SourceEntry]


def is_image_name(name: str, tally: Tally, *, videos: bool = False) -> bool:
    """True for a name with a picture's extension, or a video's; any other is counted in ``tally``.

    Folders, globs and archives ask; lists take all.
    """
    extension = extension_of(name)
    if extension in IMAGE_EXTENSIONS or (videos and extension in VIDEO_EXTENSIONS):
        return True
    tally.not_considered[extension or "no extension"] += 1
    return False


def storable(name: str) -> str:
    """The name as text that Parquet and JSON can hold: bytes beyond UTF-8 become ``\\xNN``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
