"""The same mask under several names: a file copied over another, or a pair that is there twice."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Repeat:
    """Keys of pairs with one and the same mask on ``side``: prediction, truth or both."""

    side: str
    keys: tuple[str, ...]


class Repeats:
    """Finds masks that are there twice, among those with more than one class.

    Sixteen bytes per pair are kept, and its number; masks of one class are alike by nature.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int]] = []
        self._blocks: list[npt.NDArray[np.uint64]] = []

    def add(self, row: Row) -> None:
        """Remember one ok row."""
        prints = (
            _print(row["prediction_sha256"], row["classes"], "predicted_pixels"),
            _print(row["truth_sha256"], row["classes"], "truth_pixels"),
        )
        self._rows.append((row["pair_id"], *prints))
        if len(self._rows) >= 4096:
            self._pack()

    def _pack(self) -> None:
        self._blocks.append(np.array(self._rows, dtype=np.uint64).reshape(-1, 3))
        self._rows = []

    def found(self, key_of: Callable[[int], str]) -> list[Repeat]:
        """Repeats in the order of their first pairs.

        Args:
            key_of: a pair's id -> its key.
        """
        self._pack()
        prints = np.concatenate(self._blocks)
        is_full = (prints[:, 1:] > 0).all(axis=1)
        pairs = np.where(is_full, prints[:, 1] ^ (prints[:, 2] * np.uint64(3)), np.uint64(0))
        both = {tuple(group) for group in _groups(prints[:, 0], pairs)}
        repeats = [("both", group) for group in sorted(both)]
        for side, column in (("prediction", 1), ("truth", 2)):
            groups = (tuple(group) for group in _groups(prints[:, 0], prints[:, column]))
            repeats += [(side, group) for group in groups if group not in both]
        repeats.sort(key=lambda one: one[1])
        return [Repeat(side, tuple(key_of(number) for number in group)) for side, group in repeats]


def _print(sha256: str | None, classes: list[Row], pixels: str) -> int:
    """0 where nothing can be said by it."""
    if sha256 is None or sum(one[pixels] > 0 for one in classes) < 2:
        return 0
    return int(sha256[:16], 16)


def _groups(ids: npt.NDArray[np.uint64], prints: npt.NDArray[np.uint64]) -> Iterator[list[int]]:
    """Ids that share a print, ascending."""
    values, places, sizes = np.unique(prints, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero((sizes[places] > 1) & (prints > 0))
    groups: dict[int, list[int]] = defaultdict(list)
    for place in repeated.tolist():
        groups[int(values[places[place]])].append(int(ids[place]))
    yield from (sorted(group) for group in groups.values())
