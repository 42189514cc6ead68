"""What a gallery shows and in which order: filters and sorting, as SQL with parameters."""

from dataclasses import dataclass, replace
from typing import Any, Final

from maskmill.schemas.errors import SettingsError

SORTS: Final = {
    "review": "score",
    "key": "key",
    "confidence": "confidence",
    "entropy": "entropy",
    "margin": "margin",
    "unsure": "unsure",
    "ignored": "ignored",
    "miou": "miou",
    "accuracy": "accuracy",
    "size": "CAST(width AS BIGINT) * height",
    "decided": "decided_at",
    "id": "n",
}
"""What one can sort by -> the column; ``review`` is the order of `maskmill rank`."""

DESCENDING_FIRST: Final = frozenset({"review", "entropy", "unsure", "ignored", "size", "decided"})
DECISIONS: Final = ("accepted", "rejected", "flagged")
UNDECIDED: Final = "none"

Span = tuple[float | None, float | None]
"""Lowest and highest value, both included; None: no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Every filter that is set must hold. ``share`` is that of the chosen class in the mask."""

    class_index: int | None = None
    share: Span = (None, None)
    confidence: Span = (None, None)
    entropy: Span = (None, None)
    miou: Span = (None, None)
    status: str = ""
    error: str = ""
    decision: str = ""  # one of DECISIONS, or UNDECIDED
    noted: bool = False
    text: str = ""
    folder: str = ""
    sort: str = "review"
    descending: bool | None = None  # None: as DESCENDING_FIRST has it

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise SettingsError(f"no order {self.sort!r}; there are: {', '.join(SORTS)}")
        if self.decision not in ("", UNDECIDED, *DECISIONS):
            raise SettingsError(f"no decision {self.decision!r}; there are: {', '.join(DECISIONS)}")

    def without(self, *names: str) -> "Query":
        """The same without some filters: what a count of their values is over."""
        blank = Query()
        return replace(self, **{name: getattr(blank, name) for name in names})

    def where(self) -> tuple[str, list[Any]]:
        """(condition, parameters) over the view ``gallery``."""
        terms: list[str] = ["TRUE"]
        values: list[Any] = []

        def add(term: str, *parameters: Any) -> None:
            terms.append(term)
            values.extend(parameters)

        if self.class_index is not None:
            low, high = self.share
            bounds = " AND ".join(
                ["class = ?", *(["share >= ?"] if low is not None else []),
                 *(["share <= ?"] if high is not None else [])]
            )  # fmt: skip
            given = [value for value in (low, high) if value is not None]
            add(f"n IN (SELECT n FROM presence WHERE {bounds})", self.class_index, *given)
        for column in ("confidence", "entropy", "miou"):
            low, high = getattr(self, column)
            if low is not None:
                add(f"{column} >= ?", low)
            if high is not None:
                add(f"{column} <= ?", high)
        for column, value in (("status", self.status), ("error_code", self.error)):
            if value:
                add(f"{column} = ?", value)
        if self.decision:
            add("decision IS NULL") if self.decision == UNDECIDED else add(
                "decision = ?", self.decision
            )
        if self.noted:
            add("note <> ''")
        if self.text:
            add("contains(lower(key), lower(?))", self.text)
        if self.folder:
            add("(folder = ? OR starts_with(folder, ? || '/'))", self.folder, self.folder)
        return " AND ".join(terms), values

    def order(self) -> str:
        """ORDER BY; what has no value comes last, ties go by id."""
        descending = self.sort in DESCENDING_FIRST if self.descending is None else self.descending
        return f"{SORTS[self.sort]} {'DESC' if descending else 'ASC'} NULLS LAST, n"
