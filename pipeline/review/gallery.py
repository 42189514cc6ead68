"""What pages ask of the index: rows of a query, their number, and how they spread."""

from collections.abc import Sequence
from typing import Any, Final

from maskmill.pipeline.review.query import DECISIONS, UNDECIDED, Query
from maskmill.pipeline.review.slim_index import SlimIndex
from maskmill.pipeline.review.subject import Item

Row = dict[str, Any]

COLUMNS: Final = (
    "n", "key", "block", "stamp", "status", "error_code", "error_message", "width", "height",
    "confidence", "entropy", "margin", "unsure", "ignored", "miou", "accuracy", "score",
    "decision", "note", "reviewer", "decided_at",
)  # fmt: skip
MOST_CLASSES: Final = 6  # of one image, largest first
MOST_FOLDERS: Final = 300
BINS: Final = 20


def page(index: SlimIndex, query: Query, offset: int, limit: int) -> list[Row]:
    """Rows of a query in its order, each with its largest classes."""
    where, values = query.where()
    found = index.ask(
        f"SELECT {', '.join(COLUMNS)} FROM gallery WHERE {where} ORDER BY {query.order()} "
        "LIMIT ? OFFSET ?",
        [*values, limit, offset],
    )
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in found]
    classes = classes_of(index, [row["n"] for row in rows])
    return [{**row, "classes": classes.get(row["n"], [])[:MOST_CLASSES]} for row in rows]


def image(index: SlimIndex, n: int) -> Row | None:
    """What the index has of one image, None where there is none of that id."""
    found = index.ask(f"SELECT {', '.join(COLUMNS)} FROM gallery WHERE n = ?", [n])
    if not found:
        return None
    row = dict(zip(COLUMNS, found[0], strict=True))
    return {**row, "classes": classes_of(index, [n]).get(n, [])}


def item(index: SlimIndex, n: int) -> Item | None:
    """The place of one image, for its pictures."""
    found = index.ask("SELECT n, key, block, stamp FROM images WHERE n = ?", [n])
    return Item(*found[0]) if found else None


def number_of(index: SlimIndex, key: str) -> int | None:
    """Id of the image of a key."""
    found = index.ask("SELECT n FROM images WHERE key = ?", [key])
    return int(found[0][0]) if found else None


def numbers(index: SlimIndex, query: Query) -> list[int]:
    """Ids of all images of a query in its order: what ← and → go along."""
    where, values = query.where()
    order = query.order()
    return [row[0] for row in index.ask(f"SELECT n FROM gallery WHERE {where} ORDER BY {order}",
                                        values)]  # fmt: skip


def total(index: SlimIndex, query: Query) -> int:
    """How many images a query has."""
    where, values = query.where()
    return int(index.ask(f"SELECT count(*) FROM gallery WHERE {where}", values)[0][0])


def counts(index: SlimIndex, query: Query) -> dict[str, Any]:
    """Images per class, status, error, decision and folder; each but for its own filter."""
    classes = _counted(index, query.without("class_index", "share"), "presence.class")
    decided = _counted(index, query.without("decision"), "coalesce(decision, 'none')")
    return {
        "classes": {int(name): images for name, images in classes.items() if name is not None},
        "status": _counted(index, query.without("status", "error"), "status"),
        "errors": _counted(index, query.without("status", "error"), "error_code"),
        "decisions": {name: decided.get(name, 0) for name in (*DECISIONS, UNDECIDED)},
        "folders": _counted(index, query.without("folder"), "folder", MOST_FOLDERS),
        "confidence": histogram(index, query.without("confidence"), "confidence"),
    }


def histogram(index: SlimIndex, query: Query, column: str) -> list[int]:
    """Images per twentieth of a column in [0, 1]; empty where nobody has a value."""
    where, values = query.where()
    found = index.ask(
        f"SELECT least({BINS - 1}, CAST(floor({column} * {BINS}) AS INTEGER)) AS bin, count(*) "
        f"FROM gallery WHERE {where} AND {column} IS NOT NULL GROUP BY bin",
        values,
    )
    bins = dict(found)
    return [bins.get(place, 0) for place in range(BINS)] if bins else []


def classes_of(index: SlimIndex, numbers: Sequence[int]) -> dict[int, list[Row]]:
    """Classes of some images by id, largest first."""
    if not numbers:
        return {}
    marks = ",".join("?" * len(numbers))
    found: dict[int, list[Row]] = {}
    for n, index_, share, sure in index.ask(
        f"SELECT n, class, share, sure FROM presence WHERE n IN ({marks}) "
        "ORDER BY share DESC NULLS LAST, class",
        list(numbers),
    ):
        found.setdefault(n, []).append({"index": index_, "share": share, "sure": sure})
    return found


def _counted(index: SlimIndex, query: Query, by: str, most: int = 1000) -> dict[Any, int]:
    where, values = query.where()
    joined = " JOIN presence USING (n)" if by.startswith("presence.") else ""
    found = index.ask(
        f"SELECT {by} AS value, count(*) AS images FROM gallery{joined} WHERE {where} "
        f"GROUP BY value ORDER BY images DESC, value LIMIT {most}",
        values,
    )
    return {value: images for value, images in found if value is not None}
