"""What is kept of many rows: the few that matter most, and the first keys of an oddity."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]

KEPT_EXAMPLES = 5
KEPT_KEYS = 100


class Shortlist:
    """The ``size`` rows of smallest rank seen so far; ties go to the smaller pair_id."""

    def __init__(self, size: int, rank: Callable[[Row], float]) -> None:
        self._size, self._rank = size, rank
        self._heap: list[tuple[float, int, int, Row]] = []
        self._seen = 0

    def offer(self, row: Row) -> None:
        """Keep the row if it is among the smallest."""
        self._seen += 1
        entry = (-self._rank(row), -row["pair_id"], -self._seen, row)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        elif entry[:3] > self._heap[0][:3]:
            heapq.heapreplace(self._heap, entry)

    def rows(self) -> list[Row]:
        """Smallest rank first."""
        return [entry[3] for entry in sorted(self._heap, key=lambda entry: entry[:3], reverse=True)]


@dataclass(slots=True)
class Census:
    """Files and pixels of one kind of oddity, with the first keys."""

    files: int = 0
    pixels: int = 0
    keys: list[str] = field(default_factory=list)

    @property
    def examples(self) -> list[str]:
        """The first few keys."""
        return self.keys[:KEPT_EXAMPLES]

    def add(self, key: str, pixels: int) -> None:
        """Count one file."""
        self.files += 1
        self.pixels += pixels
        if len(self.keys) < KEPT_KEYS:
            self.keys.append(key)
