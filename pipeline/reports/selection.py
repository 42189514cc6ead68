"""Which pictures a page shows: the most uncertain, some at random, some of every class."""

from dataclasses import dataclass
from typing import Any, Final

from maskmill.pipeline.review import gallery
from maskmill.pipeline.review.query import Query
from maskmill.pipeline.review.slim_index import SlimIndex
from maskmill.schemas.labels import LabelMap

PICTURES: Final = 200
_UNCERTAIN, _RANDOM = 80, 40
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """Pictures under one heading."""

    name: str
    title: str
    rows: tuple[Row, ...]


def sections(index: SlimIndex, labels: LabelMap, most: int = PICTURES) -> list[Section]:
    """At most ``most`` pictures, each once: first by review order, then by chance, then by class.

    Chance is a hash of the key, so that the same run has the same page.
    """
    shown: set[int] = set()
    uncertain = _new(gallery.page(index, Query(status="ok"), 0, min(most, _UNCERTAIN)), shown)
    chance = index.ask(
        "SELECT n FROM images WHERE status = 'ok' ORDER BY md5(key), key LIMIT ?",
        [min(most, _UNCERTAIN + _RANDOM)],
    )
    numbers = [n for (n,) in chance if n not in shown][: max(0, min(_RANDOM, most - len(shown)))]
    random = _new(_rows(index, numbers), shown)
    return [
        Section("uncertain", _first_title(index), tuple(uncertain)),
        Section("random", "At random", tuple(random)),
        *_of_classes(index, labels, most - len(shown), shown),
    ]


def _of_classes(index: SlimIndex, labels: LabelMap, room: int, shown: set[int]) -> list[Section]:
    """As many of each class as there is room for, largest share first."""
    present = [index_ for (index_,) in index.ask("SELECT DISTINCT class FROM presence ORDER BY 1")]
    classes = [one for one in labels.classes if one.index in present and not one.is_background]
    found = []
    for place, one in enumerate(classes):
        fair = room // max(1, len(classes) - place)
        rows = index.ask(
            "SELECT n FROM presence WHERE class = ? ORDER BY share DESC NULLS LAST, n LIMIT ?",
            [one.index, fair + len(shown)],
        )
        numbers = [n for (n,) in rows if n not in shown][:fair]
        new = _new(_rows(index, numbers), shown)
        room -= len(new)
        if new:
            found.append(Section(f"class-{one.index}", one.name, tuple(new)))
    return found


def _first_title(index: SlimIndex) -> str:
    unsure = index.ask("SELECT count(entropy) FROM images")[0][0]
    return "Most uncertain, rare classes first" if unsure else "Rare classes first"


def _rows(index: SlimIndex, numbers: list[int]) -> list[Row]:
    found = (gallery.image(index, n) for n in numbers)
    return [row for row in found if row is not None]


def _new(rows: list[Row], shown: set[int]) -> list[Row]:
    kept = [row for row in rows if row["n"] not in shown]
    shown.update(row["n"] for row in kept)
    return kept
