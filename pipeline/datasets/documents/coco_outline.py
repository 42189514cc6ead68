"""One pass over a COCO document of any size: pictures, categories, and where annotations lie."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from maskmill.pipeline.datasets.documents.json_arrays import (
    BETWEEN,
    elements_outside,
    placed_elements,
)
from maskmill.pipeline.datasets.left_out import UNLISTED, UNUSABLE, Omission
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.schemas.json_text import parse_json

WRONG_ENTRY: Final = (KeyError, TypeError, ValueError, AttributeError, OverflowError)

Place = list[int]
"""[start, length] of one or more neighbouring annotations in the file."""


@dataclass(slots=True)
class CocoOutline:
    """What one pass over a document keeps: pictures, categories, and where annotations lie.

    ``images`` holds (file name, height, width) by id. Places are three numbers per annotation (or
    run of neighbouring ones of a picture): COCO's own document has a million.
    """

    images: dict[int, tuple[str, Any, Any]] = field(default_factory=dict)
    categories: list[dict[str, Any]] = field(default_factory=list)
    unusable: Counter[str] = field(default_factory=Counter)  # entries by array
    _owners: "array[int]" = field(default_factory=lambda: array("q"))
    _starts: "array[int]" = field(default_factory=lambda: array("q"))
    _ends: "array[int]" = field(default_factory=lambda: array("q"))
    _counts: "array[int]" = field(default_factory=lambda: array("q"))

    @property
    def has_annotations(self) -> bool:
        """True where the document has at least one annotation."""
        return len(self._owners) > 0

    def add(self, image_id: int, start: int, length: int) -> None:
        """Note one annotation; the next neighbour of a picture's last one prolongs that."""
        if self._owners and (self._owners[-1], self._ends[-1]) == (image_id, start):
            self._ends[-1] = start + length
            self._counts[-1] += 1
            return
        self._owners.append(image_id)
        self._starts.append(start)
        self._ends.append(start + length)
        self._counts.append(1)

    def classes(self) -> list[tuple[str, str]]:
        """Ids and names of the categories; what else an entry holds decides nothing."""
        return [(str(one["id"]), str(one["name"])) for one in self.categories]

    def notes(self, name: str) -> tuple[str, ...]:
        """What of the document ``name`` belongs to no picture, counted."""
        lacking = [
            f"{name}: {count} entries of {kind!r} lack a field that each must have, or repeat an "
            "id, left out"
            for kind, count in self.unusable.items()
        ]
        strays = self._strays()
        stray = f"{name}: {strays} annotations of pictures that it does not list, left out"
        return (*lacking, *([stray] if strays else []))

    def left_out(self) -> Counter[Omission]:
        """The same as counts."""
        lacking = {Omission(UNUSABLE, kind): count for kind, count in self.unusable.items()}
        return +Counter({**lacking, Omission(UNLISTED): self._strays()})

    def _strays(self) -> int:
        pairs = zip(self._owners, self._counts, strict=True)
        return sum(count for owner, count in pairs if owner not in self.images)

    def places(self) -> Callable[[int], list[Place]]:
        """Where the annotations of a picture lie, by its id."""
        owners = np.array(self._owners, np.int64)
        order = np.argsort(owners, kind="stable")
        owners = owners[order]
        starts, ends = np.array(self._starts)[order], np.array(self._ends)[order]

        def of_image(image_id: int) -> list[Place]:
            first, last = np.searchsorted(owners, [image_id, image_id + 1])
            spans = zip(starts[first:last].tolist(), ends[first:last].tolist(), strict=True)
            return [[start, end - start] for start, end in spans]

        return of_image


def outline(tree: FileTree, name: str) -> CocoOutline:
    """Pictures, categories and annotation places of one document.

    Entries that lack their ids or names are counted in ``unusable`` and left out.

    Raises:
        DocumentFailure: malformed JSON.
    """
    result = CocoOutline()
    first = last = 0
    for element in placed_elements(tree, name, "annotations"):
        try:
            result.add(int(element.value["image_id"]), element.start, element.length)
        except WRONG_ENTRY:
            result.unusable["annotations"] += 1
        if element.length:  # the first object stays, so that what is left is JSON all the same
            last = element.start + element.length
            first = first or last
    for image in elements_outside(tree, name, "images.item", (first, last)):
        try:
            told = image["file_name"].replace("\\", "/")
            entry = (told, image.get("height"), image.get("width"))
            if result.images.setdefault(int(image["id"]), entry) is not entry:
                result.unusable["images"] += 1  # an id that another picture has
        except WRONG_ENTRY:
            result.unusable["images"] += 1
    categories = elements_outside(tree, name, "categories.item", (first, last))
    for category in categories:
        if _is_category(category):
            result.categories.append(category)
        else:
            result.unusable["categories"] += 1
    return result


def _is_category(entry: Any) -> bool:
    try:
        int(entry["id"])
        return isinstance(entry["name"], str) and bool(entry["name"])
    except WRONG_ENTRY:
        return False


def with_classes(
    outlines: Mapping[str, CocoOutline],
) -> tuple[dict[str, CocoOutline], tuple[str, ...]]:
    """The documents that list pictures and classes, and a note for those that list no classes.

    COCO's own folder holds ``image_info`` and ``captions`` beside ``instances``. Where no document
    has classes, all are given back.
    """
    listed = {name: one for name, one in outlines.items() if one.images}
    named = {name: one for name, one in listed.items() if one.categories}
    if not named:
        return listed, ()
    bare = [name for name in listed if name not in named]
    return named, tuple(f"{name} lists pictures and no classes: not taken" for name in bare)


def split_of_document(name: str) -> str:
    """``val`` of ``instances_val.json``, and of Roboflow's ``val/_annotations.coco.json``."""
    folder, _, file_name = name.rpartition("/")
    split = file_name.removesuffix(".json").removeprefix("instances_")
    if split.startswith("_annotations"):
        split = folder.rpartition("/")[2]
    return "" if split == "default" else split


def left_out_of(outlines: Iterable[CocoOutline]) -> Counter[Omission]:
    """What several documents hold that belongs to no picture."""
    return sum((one.left_out() for one in outlines), Counter())


def annotations_at(tree: FileTree, payload: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The annotations of one picture, read from their places in the document."""
    for start, length in payload["places"]:
        text = tree.read_range(payload["document"], start, length).strip(BETWEEN)
        found = parse_json(b"[" + text + b"]", payload["document"])
        yield from (one for one in found if isinstance(one, dict))
