"""What a picture is called: which endings are pictures, which of them wins, which lose pixels."""

import posixpath
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath
from typing import Final

IMAGE_EXTENSIONS: Final = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".webp", ".tif", ".tiff"),
    *(".gif", ".jp2", ".j2k", ".avif", ".avifs", ".ppm", ".pgm", ".pbm", ".pnm"),
    *(".heic", ".heif", ".hif"),
)
"""What is taken for a picture, in any case of letters; where one name has several, first wins."""

VIDEO_EXTENSIONS: Final = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts"),
    *(".wmv", ".asf", ".flv", ".3gp", ".ogv"),
)
"""What is taken for a video, in any case of letters. No ``.ts``: most of those are programs."""

LOSSY_EXTENSIONS: Final = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")
"""Pictures that never keep their pixels: photographs rather than masks. WebP and others may."""

MASK_EXTENSIONS: Final = (
    *(".png", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif", ".jpg", ".jpeg"),
)
"""Pictures that masks are kept in."""

EXACT_MASK_EXTENSIONS: Final = tuple(
    extension for extension in MASK_EXTENSIONS if extension not in LOSSY_EXTENSIONS
)
"""Those of them that keep every pixel."""


_SHADOW: Final = "__MACOSX"


def is_hidden(name: str) -> bool:
    """True where the file or a folder on the way starts with a dot, or is macOS's shadow."""
    if not (name.startswith(".") or "/." in name or _SHADOW in name):
        return False  # most names, at once
    return any(part.startswith(".") or part == _SHADOW for part in PurePosixPath(name).parts)


def extension_of(name: str) -> str:
    """The last extension with its dot in lower case, '' where there is none."""
    return posixpath.splitext(name)[1].lower()


def stem_of(name: str, extensions: Collection[str] = IMAGE_EXTENSIONS) -> str:
    """A name without a picture's extension: ``sub/a.b.jpg`` gives ``sub/a.b``, ``a.b`` stays."""
    stem, extension = posixpath.splitext(name)
    return stem if extension.lower() in extensions else name


def pictures_by_stem(names: Iterable[str]) -> dict[str, str]:
    """The pictures among ``names`` by name without extension; an earlier extension wins."""
    rank = {extension: place for place, extension in enumerate(IMAGE_EXTENSIONS)}
    found: dict[str, str] = {}
    for name in names:
        place = rank.get(extension_of(name))
        known = found.get(stem_of(name))
        if place is not None and (known is None or place < rank[extension_of(known)]):
            found[stem_of(name)] = name
    return found


def frame_of_key(key: str) -> tuple[str, int] | None:
    """(video, number of the frame) of a key such as ``clip.mp4/000123``; None for other keys."""
    video, _, name = stem_of(key).rpartition("/")
    is_frame = extension_of(video) in VIDEO_EXTENSIONS and name.isascii() and name.isdecimal()
    return (video, int(name)) if is_frame else None


def cvat_name(key: str) -> str:
    """``clip.mp4/frame_000123`` for ``clip.mp4/000123``: what CVAT's importers count frames by.

    Other keys stay as they are.
    """
    if frame_of_key(key) is None:
        return key
    video, _, name = key.rpartition("/")
    return f"{video}/frame_{name}"
