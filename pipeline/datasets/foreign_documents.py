"""Documents of programs that are not read here: known by their beginning, refused by their name.

Facts: the export formats of CVAT (video), LabelMe (MIT), V7 Darwin 2.0, Segments.ai, VIA 2 and of
Segment Anything's data set.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from maskmill.pipeline.datasets.documents.heads import heads
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.schemas.errors import DocumentFailure, FileFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKind:
    """``suffix`` and ``head`` are what its files are known by; ``remedy`` what to do instead."""

    name: str
    suffix: str
    head: re.Pattern[str]
    remedy: str


@dataclass(frozen=True, slots=True)
class ForeignDocument:
    """A file of a tree that is of a foreign kind."""

    file: str
    kind: ForeignKind

    @property
    def sentence(self) -> str:
        """What the file is, and the remedy."""
        return f"{self.file} is {self.kind.name}, which is not read here: {self.kind.remedy}"


def _all_of(*parts: str) -> re.Pattern[str]:
    """What finds text that holds every part, in any order."""
    return re.compile("".join(f"(?=.*{part})" for part in parts), re.DOTALL)


FOREIGN: Final = (
    ForeignKind(
        name="a CVAT for video document",
        suffix=".xml",
        head=re.compile(
            r"(?=.*<annotations)(?!.*<image )(?=.*(?:<track |<mode>interpolation<))", re.DOTALL
        ),
        remedy="export the task as 'CVAT for images 1.1', 'COCO 1.0' or 'Segmentation mask 1.1'",
    ),
    ForeignKind(
        name="a LabelMe XML document (MIT's LabelMe, not labelme)",
        suffix=".xml",
        head=_all_of("<annotation>", "<object>", "<polygon>"),
        remedy="turn it into COCO with the program that wrote it, or with datumaro",
    ),
    ForeignKind(
        name="a list of Pascal VOC boxes, which are no masks",
        suffix=".xml",
        head=_all_of("<annotation", "<object>", "<bndbox>"),
        remedy="masks of VOC are PNGs in SegmentationClass/",
    ),
    ForeignKind(
        name="a V7 Darwin document",
        suffix=".json",
        head=_all_of(r'"(?:schema_ref|item)"', '(?:darwin|"slots")'),
        remedy="export the release as COCO, or as semantic masks",
    ),
    ForeignKind(
        name="a Segments.ai release",
        suffix=".json",
        head=_all_of('"samples"', '(?:"segmentation_bitmap"|"label_status"|"labelset)'),
        remedy="export it with their SDK as COCO, or as semantic bitmaps with --labels",
    ),
    ForeignKind(
        name="an annotation of Segment Anything (SA-1B)",
        suffix=".json",
        head=re.compile(r'\s*\{\s*"image"\s*:\s*\{.*"annotations"\s*:\s*\[', re.DOTALL),
        remedy="its masks have no classes, so they cannot be class masks",
    ),
    ForeignKind(
        name="a VIA project",
        suffix=".json",
        head=_all_of('"(?:_via_settings|region_attributes)"', '"(?:regions|shape_attributes)"'),
        remedy="export annotations as COCO there",
    ),
)  # fmt: skip
"""Most telling first."""


def foreign_kind(suffix: str, head: str) -> ForeignKind | None:
    """What a document is that begins so and whose name ends so; None for all others."""
    kinds = (kind for kind in FOREIGN if kind.suffix == suffix)
    return next((kind for kind in kinds if kind.head.match(head)), None)


def foreign_document(tree: FileTree) -> ForeignDocument | None:
    """The first document of a tree that is of one of FOREIGN's kinds; None without one.

    Reads the beginnings of a few files only.
    """
    for suffix in (".xml", ".json"):
        try:
            for name, head in heads(tree, suffix):
                kind = foreign_kind(suffix, head)
                if kind is not None:
                    return ForeignDocument(name, kind)
        except FileFailure:  # unreadable: then it says nothing
            continue
    return None


@contextmanager
def naming_foreign_documents(tree: FileTree) -> Iterator[None]:
    """What a reader finds wrong with a tree, with the foreign document that is there instead.

    Raises:
        DocumentFailure: the reader's, and after it what the document is.
    """
    try:
        yield
    except DocumentFailure as failure:
        foreign = foreign_document(tree)
        if foreign is None:
            raise
        raise DocumentFailure(failure.code, f"{failure}; {foreign.sentence}") from failure
