"""What of a source does not reach the target, counted by kind: nothing is dropped in silence."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

BOXES: Final = "boxes"
KEYPOINTS: Final = "keypoints"
NO_MASK: Final = "no_mask"
SHAPES: Final = "shapes"
NO_PIXEL: Final = "no_pixel"
COVERED: Final = "covered"
CONTESTED: Final = "contested"
OTHER_RESULTS: Final = "other_results"
UNLISTED: Final = "unlisted"
UNUSABLE: Final = "unusable"
UNLABELLED: Final = "unlabelled"
OTHER_NAMES: Final = "other_names"
TO_BACKGROUND: Final = "to_background"
TO_IGNORE: Final = "to_ignore"
PICTURES: Final = "pictures"

KINDS: Final[Mapping[str, str]] = {
    BOXES: "boxes without a mask",
    KEYPOINTS: "key points without a mask",
    NO_MASK: "annotations without any shape",
    SHAPES: "entries of kinds that hold no mask",
    NO_PIXEL: "shapes that cover no pixel of their picture",
    COVERED: "shapes wholly covered by others",
    CONTESTED: "pixels that several classes claim, given to the one on top",
    OTHER_RESULTS: "results of other annotators of the same picture",
    UNLISTED: "annotations of pictures that the document does not list",
    UNUSABLE: "entries that lack a field each must have, or repeat an id",
    UNLABELLED: "pictures without a label file",
    OTHER_NAMES: "files that are not called as --mask-suffix says",
    TO_BACKGROUND: "pixels that became background",
    TO_IGNORE: "pixels that became ignore",
    PICTURES: "pictures that were not found",
}
"""Kind -> what it counts, in the plural; columns and --json have the kind."""

OF_NO_CLASS: Final = "values of no class"
LONGEST: Final = 60
MOST: Final = 200
OTHERS: Final = "others"


class Omission(NamedTuple):
    """A kind of KINDS, and of what: a class, a type of shape, an array; '' where that is all."""

    kind: str
    what: str = ""


LeftOut = Mapping[Omission, int]
"""How much of each was left out."""


def left_out_rows(counts: LeftOut) -> list[dict[str, Any]]:
    """``kind``, ``what`` and ``count`` of everything that was left out, for rows and --json."""
    return [
        {"kind": one.kind, "what": one.what, "count": count}
        for one, count in sorted(counts.items())
        if count
    ]


def add_rows(total: Counter[Omission], rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows of :func:`left_out_rows` to a total, which never has many entries.

    Documents are free to name as many types of shapes as they like: from MOST on, new ones are
    counted together.
    """
    for row in rows:
        one = Omission(row["kind"], row["what"][:LONGEST])
        total[one if one in total or len(total) < MOST else one._replace(what=OTHERS)] += row[
            "count"
        ]


def sentence(one: Omission, count: int) -> str:
    """``boxes without a mask: 12``; ``pixels that became background (cat): 7``."""
    what = f" ({one.what})" if one.what else ""
    return f"{KINDS[one.kind]}{what}: {count:,}"
