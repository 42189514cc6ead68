"""The images that a list or a data set names, found again among others: --skip, --exclude, --only.

An image is named by its key, by its path or URI, or by its key without the picture's extension
where only one image has that: data sets of masks do not tell the extension.
"""

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.datasets.recognition import recognise
from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import ReadOptions
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.pipeline.pictures.names import MASK_EXTENSIONS, extension_of, stem_of
from maskmill.pipeline.sources.name_list import place_of
from maskmill.pipeline.sources.text_list import folder_of, lines_and_root
from maskmill.pipeline.storage.filesystems import is_uri
from maskmill.schemas.errors import SettingsError

LIST_EXTENSIONS: Final = (".txt", ".lst")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a list or a data set names. ``keys`` and ``places`` belong together, one per name.

    ``places`` are absolute paths or URIs, empty for the names of a data set.
    """

    source: str
    kind: str  # "the list", "the voc data set"
    keys: Sequence[str]
    places: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """``chosen`` is (N,) True for the images that are named; ``notes`` what is to be said of it."""

    chosen: npt.NDArray[np.bool_]
    notes: tuple[str, ...]


def read_names(source: str) -> Names:
    """The names of a text list, or of the samples of a data set, run or folder of masks.

    Raises:
        SettingsError: it does not exist, names nothing, or is not recognised.
        FileFailure: a data set that does not follow its format.
    """
    if extension_of(source.partition("?")[0]) in LIST_EXTENSIONS:
        return _of_list(source)
    tree = open_tree(source)
    known = recognise(tree)
    if known is None:
        names = [name for name in tree.names() if extension_of(name) in MASK_EXTENSIONS]
        kind = "the folder of masks"
    else:
        index = dataset_format(known.format).load_reader().index(tree, ReadOptions())
        names = [item.key for item in index.items]
        kind = f"the {known.format} data set"
    if not names:
        raise SettingsError(
            f"{source} names no image: give a text list ({', '.join(LIST_EXTENSIONS)}), a data set "
            "that `convert` reads, or a folder of masks"
        )
    return Names(source=source, kind=kind, keys=names)


def find_named(
    names: Names, keys: Sequence[str], uris: Sequence[str] | None, *, option: str
) -> Found:
    """Which of the images (their keys, and their uris where these are known) are named.

    Without uris a path of the list is matched by its end, with what is left of it as long as can
    be.

    Raises:
        SettingsError: a name that fits several images, or names that fit none at all.
    """
    by_key = {key: place for place, key in enumerate(keys)}
    by_uri = {} if uris is None else {uri: place for place, uri in enumerate(uris)}
    stems = _by_stem(keys)
    chosen = np.zeros(len(keys), np.bool_)
    ways: Counter[str] = Counter()
    missing: list[str] = []
    for key, place in zip(names.keys, names.places or names.keys, strict=True):
        at = by_uri.get(place, by_key.get(key))
        if at is None:
            at, way = _otherwise(key, place, by_key, stems, uris is None, names, option)
            ways[way] += at is not None
        if at is None:
            missing.append(place)
        else:
            chosen[at] = True
    if not chosen.any():
        raise SettingsError(
            f"{option} {names.source}: none of the {len(names):,} names of {names.kind} fits an "
            f"image; the first is {names.keys[0]!r}, the first image {keys[0]!r}"
        )
    return Found(chosen=chosen, notes=tuple(_notes(names, option, ways, missing)))


def _of_list(source: str) -> Names:
    lines, root = lines_and_root(source)
    places = [place_of(line, folder_of(source)) for line in lines]
    head = None if root is None else root.partition("?")[0].rstrip("/") + "/"
    keys = [
        _below(place, head) if head and place.startswith(head) else posixpath.normpath(line)
        for line, place in zip(lines, places, strict=True)
    ]
    return Names(source=source, kind="the list", keys=keys, places=places)


def _below(place: str, head: str) -> str:
    """The key of a path or URI below the root of the keys."""
    rest = place.removeprefix(head)
    return unquote(rest.partition("?")[0]) if is_uri(place) else rest


def _by_stem(keys: Iterable[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        found.setdefault(stem_of(key), []).append(place)
    return found


def _otherwise(
    key: str,
    place: str,
    by_key: dict[str, int],
    stems: dict[str, list[int]],
    by_end: bool,
    names: Names,
    option: str,
) -> tuple[int | None, str]:
    """The image of a name that is no key and no uri, and how it was found."""
    ends = _ends(place) if by_end and names.places else iter((key,))
    for end in ends:
        if end in by_key:
            return by_key[end], "by the end of their path"
        same = stems.get(stem_of(end), [])
        if len(same) > 1:
            raise SettingsError(
                f"{option} {names.source}: {key!r} fits {len(same)} images that differ in their "
                "extension only; write the extension"
            )
        if same:
            return same[0], "without their extension"
    return None, ""


def _ends(path: str) -> Iterator[str]:
    """``/a/b/c.jpg``: a/b/c.jpg, b/c.jpg, c.jpg."""
    parts = path.strip("/").split("/")
    for first in range(len(parts)):
        yield "/".join(parts[first:])


def _notes(names: Names, option: str, ways: Counter[str], missing: list[str]) -> Iterator[str]:
    for way, count in sorted(ways.items()):
        if count:
            yield f"{option} {names.source}: {count:,} names were matched {way}"
    if missing:
        yield (
            f"{option} {names.source}: {len(missing):,} of {len(names):,} names fit no image, "
            f"first {missing[0]}"
        )
