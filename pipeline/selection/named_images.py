"""The images that a list or a data set names, found again among others: --skip, --exclude, --only.

An image is named by its key, by its path or URI, or by its key without the picture's extension
where only one image has that: data sets of masks do not tell the extension.
"""

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.datasets.recognition import recognise
from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import ReadOptions
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.pipeline.pictures.names import MASK_EXTENSIONS, extension_of, stem_of
from maskmill.pipeline.sources.name_list import place_of
from maskmill.pipeline.sources.text_list import folder_of, lines_and_root
from maskmill.pipeline.storage.filesystems import is_uri
from maskmill.pipeline.storage.sorted_table import SortedTable, row_tables, rows_of
from maskmill.schemas.errors import SettingsError

LIST_EXTENSIONS: Final = (".txt", ".lst")

_URI, _KEY, _STEM = "ukx"
"""What the texts that images and names are joined by begin with, so that kinds do not mix."""

_NO_WAY, _BY_END, _BY_STEM = range(3)
_WAYS: Final = {_BY_END: "by the end of their path", _BY_STEM: "without their extension"}
_TEXTS = pa.schema(
    [
        ("text", pa.string()),
        ("image", pa.int64()),  # its position; null in rows of names
        ("name", pa.int64()),  # its position; null in rows of images
        ("rank", pa.int32()),  # of what a name may mean the first counts
        ("way", pa.int8()),
    ]
)
_HITS = pa.schema(
    [
        ("name", pa.int64()),
        ("rank", pa.int32()),
        ("way", pa.int8()),
        ("image", pa.int64()),
        ("images", pa.int64()),  # that have the same text
    ]
)


class Name(NamedTuple):
    """What a list or a data set says of one image."""

    key: str
    place: str  # absolute path or URI; the key again in a data set


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a list or a data set names; a list is read each time it is gone through."""

    source: str
    kind: str  # "the list", "the voc data set"
    keys: Sequence[str] | None = None  # of a data set

    def __iter__(self) -> Iterator[Name]:
        """In the order of the document.

        Raises:
            SettingsError: a list that cannot be read, is not UTF-8, or names nothing.
        """
        if self.keys is not None:
            return (Name(key, key) for key in self.keys)
        return _of_list(self.source)

    def at(self, position: int) -> Name:
        """One of them."""
        return next(islice(iter(self), position, None))


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
        return Names(source=source, kind="the list")
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


def find_named(names: Names, images: Iterable[pa.Table], *, option: str) -> Found:
    """Which of the images are named. Both sides stream by, and are joined on disk.

    Args:
        names: what is looked for.
        images: their keys, and their uris where these are known, some at a time: tables with
            columns ``key`` and perhaps ``uri``. Without uris a path of the list is matched by its
            end, with what is left of it as long as can be.
        option: named in messages.

    Raises:
        SettingsError: a name that fits several images, or names that fit none at all.
    """
    search = _Search(names, images)
    hits = SortedTable(search.hits(), _HITS, by="name")
    chosen = np.zeros(search.images, np.bool_)
    ways: Counter[int] = Counter()
    missing, first_missing = search.names, 0
    for position, rows in groupby(rows_of(hits), key=itemgetter(0)):
        _, _, way, image, alike = min(rows, key=itemgetter(1))
        if way == _BY_STEM and alike > 1:
            raise SettingsError(
                f"{option} {names.source}: {names.at(position).key!r} fits {alike} images that "
                "differ in their extension only; write the extension"
            )
        chosen[image] = True
        ways[way] += 1
        missing -= 1
        if first_missing == position:  # none is missing up to here
            first_missing = position + 1
    if not chosen.any():
        raise SettingsError(
            f"{option} {names.source}: none of the {search.names:,} names of {names.kind} fits an "
            f"image; the first is {names.at(0).key!r}, the first image {search.first_image!r}"
        )
    first = names.at(first_missing).place if missing else ""
    return Found(
        chosen=chosen,
        notes=tuple(_notes(f"{option} {names.source}", ways, missing, search.names, first)),
    )


class _Search:
    """The join of names and images by what a name may mean: a uri, a key, a key without extension.

    What is counted is known once the hits have come.
    """

    def __init__(self, names: Names, tables: Iterable[pa.Table]) -> None:
        self._names, self._tables = names, tables
        self._with_uris = True
        self.names = self.images = 0
        self.first_image = ""

    def hits(self) -> Iterator[pa.Table]:
        """Rows of _HITS: all that a name fits."""
        texts = SortedTable(self._texts(), _TEXTS, by="text")
        rows = rows_of(texts.alike())
        every = (
            (name, rank, way, images[-1], len(images))
            for _, group in groupby(rows, key=itemgetter(0))
            for images, found in [_sides(group)]
            if images
            for name, rank, way in found
        )
        return row_tables(every, _HITS)

    def _texts(self) -> Iterator[pa.Table]:
        yield from row_tables(self._of_images(), _TEXTS)
        yield from row_tables(self._of_names(), _TEXTS)

    def _of_images(self) -> Iterator[tuple[Any, ...]]:
        for table in self._tables:
            keys = table["key"].to_pylist()
            self._with_uris = "uri" in table.column_names
            uris = table["uri"].to_pylist() if self._with_uris else [None] * len(keys)
            for key, uri in zip(keys, uris, strict=True):
                self.first_image = self.first_image if self.images else key
                for kind, text in ((_URI, uri), (_KEY, key), (_STEM, stem_of(key))):
                    if text is not None:
                        yield kind + text, self.images, None, None, None
                self.images += 1

    def _of_names(self) -> Iterator[tuple[Any, ...]]:
        for name in self._names:
            for rank, (text, way) in enumerate(self._meanings(name)):
                yield text, None, self.names, rank, way
            self.names += 1

    def _meanings(self, name: Name) -> Iterator[tuple[str, int]]:
        """What a name may mean, the likeliest first, and how it is then said to be matched."""
        if self._with_uris:
            yield _URI + name.place, _NO_WAY
        yield _KEY + name.key, _NO_WAY
        if self._with_uris or self._names.keys is not None:
            yield _STEM + stem_of(name.key), _BY_STEM
            return
        for end in _ends(name.place):
            yield _KEY + end, _BY_END
            yield _STEM + stem_of(end), _BY_STEM


def _sides(rows: Iterable[tuple[Any, ...]]) -> tuple[list[int], list[tuple[int, int, int]]]:
    """Images in their order, and (name, rank, way), of rows of one text."""
    images: list[int] = []
    names: list[tuple[int, int, int]] = []
    for _, image, name, rank, way in rows:
        if image is not None:
            images.append(image)
        else:
            names.append((name, rank, way))
    return sorted(images), names


def _of_list(source: str) -> Iterator[Name]:
    lines, root = lines_and_root(source)
    folder = folder_of(source)
    head = None if root is None else root.partition("?")[0].rstrip("/") + "/"
    for line in lines:
        place = place_of(line, folder)
        is_below = head is not None and place.startswith(head)
        yield Name(_below(place, head or "") if is_below else posixpath.normpath(line), place)


def _below(place: str, head: str) -> str:
    """The key of a path or URI below the root of the keys."""
    rest = place.removeprefix(head)
    return unquote(rest.partition("?")[0]) if is_uri(place) else rest


def _ends(path: str) -> Iterator[str]:
    """``/a/b/c.jpg``: a/b/c.jpg, b/c.jpg, c.jpg."""
    parts = path.strip("/").split("/")
    for first in range(len(parts)):
        yield "/".join(parts[first:])


def _notes(told: str, ways: Counter[int], missing: int, names: int, first: str) -> Iterator[str]:
    for way, title in sorted(_WAYS.items(), key=itemgetter(1)):
        if ways[way]:
            yield f"{told}: {ways[way]:,} names were matched {title}"
    if missing:
        yield f"{told}: {missing:,} of {names:,} names fit no image, first {first}"
