"""What a folder, an archive or a document is: the one place that guesses, and says why.

What a format is known by stands beside its reader, as ``recogniser`` of its DatasetFormat.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from maskmill.pipeline.datasets.registry import DATASET_FORMATS
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.schemas.errors import FileFailure

OWN_RUN: Final = "prelabel"
"""A run of ours holds masks and a COCO document as well; it is a run and nothing else."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """A format of DATASET_FORMATS and what it was known by, as the end of a sentence."""

    format: str
    reason: str


def recognise(tree: FileTree) -> Recognition | None:
    """The first of :func:`recognitions`; None for a folder of plain masks or pictures."""
    return next(recognitions(tree), None)


def recognitions(tree: FileTree) -> Iterator[Recognition]:
    """Every format that knows ``tree`` as its own, in the order of the table.

    Plain masks have none: their names and layout say nothing of what the values mean. More than
    one is a tree that holds documents of several kinds. Where one file is pointed at, what lies
    beside it decides nothing: a reason begins with the document it is about. No picture is decoded.
    """
    for name, entry in DATASET_FORMATS.items():
        if entry.recogniser is None:
            continue
        try:
            reason = entry.recogniser(tree)
        except FileFailure:  # unreadable: then it gives no reason to be anything
            continue
        if reason is not None and (tree.selected is None or reason.startswith(tree.selected)):
            yield Recognition(name, reason)
            if name == OWN_RUN:
                return
