"""Which prediction belongs to which truth: by written rules, one to one, nothing left out.

Files stream by, and are sorted on disk by what the rule that is tried says they must share: memory
holds some thousands of them at a time, and a byte of each.
"""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.audit.affix_search import affixes_that_pair
from maskmill.pipeline.audit.mask_files import MaskFile, MaskFiles
from maskmill.pipeline.audit.matches import FOUND, SIDED, Matches, Rest, lonely
from maskmill.pipeline.audit.pair_rules import (
    RULES,
    SHARED_ENDING,
    KeyOf,
    file_name,
    stem_path,
    without_shared_ending,
)
from maskmill.pipeline.audit.variants import other_variants
from maskmill.pipeline.datasets.name_affixes import Affix
from maskmill.pipeline.storage.sorted_table import SortedTable, rows_of
from maskmill.schemas.errors import ErrorCode, SettingsError

FEWEST: Final = 2
"""Pairs that a rule found from the names themselves must make: one is chance."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A row of the audit. ``problem`` says why it cannot be compared, None where it can."""

    key: str
    prediction: MaskFile | None
    truth: MaskFile | None
    problem: ErrorCode | None = None
    message: str = ""


class Pairs:
    """Pairs in key order, on disk where there are many; as often as asked for."""

    def __init__(self, rows: SortedTable, without: ErrorCode | None = None) -> None:
        self._rows, self._without = rows, without

    def __iter__(self) -> Iterator[Pair]:
        return (_pair(*row) for row in rows_of(self.tables()))

    def tables(self) -> Iterator[pa.Table]:
        """The same, some thousands at a time: schema FOUND."""
        for table in _ties_in_order(self._rows):
            if self._without is not None:
                other = pc.not_equal(table["error_code"], self._without.value)
                table = table.filter(pc.fill_null(other, True))
            yield table

    def without(self, problem: ErrorCode) -> "Pairs":
        """Those that do not have this problem."""
        return Pairs(self._rows, problem)


@dataclass(frozen=True, slots=True)
class Pairing:
    """All pairs; how many each rule found; what is wrong with how many; what are no label masks."""

    pairs: Pairs
    rules: Mapping[str, int]
    problems: Mapping[ErrorCode, int]
    not_considered: Mapping[str, int]


def pair_masks(
    predictions: Iterable[MaskFile], truths: Iterable[MaskFile], *, train_ids: bool = False
) -> Pairing:
    """Match both sides. Every file ends in exactly one pair, or is counted as not considered.

    The rules, tried in this order on what the rules before have left: the same path without its
    extension; the same path without a role's ending (``SUFFIXES``); the same file name without a
    role's ending, in whatever folder; the same Cityscapes frame ``city_000000_000000``; the same
    file name without the ending that all files left on a side share (``_official``); the same file
    name without what most of a side have before or behind it (mask_names.py). A rule pairs files
    only where it finds one on each side; two or more on a side are ``ambiguous_pair``.

    Args:
        predictions: files of the predictions; keys are unique.
        truths: files of the truth; keys are unique.
        train_ids: of Cityscapes' two label masks per picture, take labelTrainIds.
    """
    search = _Search(_files(predictions), _files(truths), train_ids)
    rows = SortedTable(search.found(), FOUND, by="key")
    counts = {name: count for name, count in search.rules.items() if count}
    return Pairing(Pairs(rows), counts, search.problems, dict(search.skipped))


class _Search:
    """The rules, one after the other. What is counted is known once all pairs have come."""

    def __init__(self, predictions: MaskFiles, truths: MaskFiles, train_ids: bool) -> None:
        self._sides, self._train_ids = (predictions, truths), train_ids
        self.skipped: Counter[str] = Counter()
        self.rules: Counter[str] = Counter()
        self.problems: Counter[ErrorCode] = Counter()

    def found(self) -> Iterator[pa.Table]:
        """FOUND rows, in no order."""
        rest = self._label_masks()
        for name, key_of in RULES.items():
            if all(rest.counts):
                rest = yield from self._matched(name, rest, (key_of, key_of))
        if all(rest.counts):
            keys = tuple(without_shared_ending(rest.keys(is_truth=side)) for side in (False, True))
            rest = yield from self._matched(SHARED_ENDING, rest, (keys[0], keys[1]))
        if min(rest.counts) >= FEWEST:
            found = _affix_rule(rest)
            if found is not None:
                rest = yield from self._matched(found[0], rest, found[1])
        yield from map(self._counted, lonely(rest))

    def _label_masks(self) -> Rest:
        """What is to be paired: of Cityscapes' files those that are the picture's label mask."""
        others = [
            other_variants(_Stems(side), len(side), train_ids=self._train_ids, skipped=self.skipped)
            for side in self._sides
        ]
        skipped = [0 if one is None else int(np.count_nonzero(one)) for one in others]
        counts = (len(self._sides[0]) - skipped[0], len(self._sides[1]) - skipped[1])
        return Rest(
            lambda: chain(
                _sided(self._sides[0], others[0], is_truth=False),
                _sided(self._sides[1], others[1], is_truth=True),
            ),
            counts,
        )

    def _matched(
        self, name: str, rest: Rest, keys: tuple[KeyOf, KeyOf]
    ) -> Generator[pa.Table, None, Rest]:
        matches = Matches(rest, keys)
        for table in matches.found():
            self.rules[name] += table["error_code"].null_count
            yield self._counted(table)
        return matches.rest

    def _counted(self, table: pa.Table) -> pa.Table:
        for one in pc.value_counts(table["error_code"].drop_null()).to_pylist():
            self.problems[ErrorCode(one["values"])] += one["counts"]
        return table


class _Stems:
    """The files' keys without extension, in their order; as often as asked for."""

    def __init__(self, files: MaskFiles) -> None:
        self._files = files

    def __iter__(self) -> Iterator[str]:
        for table in self._files.tables():
            yield from map(stem_path, table["key"].to_pylist())


def _sided(
    files: MaskFiles, others: npt.NDArray[np.bool_] | None, *, is_truth: bool
) -> Iterator[pa.Table]:
    """SIDED tables of one side, without ``others``."""
    first = 0
    for table in files.tables():
        rows = np.arange(first, first + table.num_rows)
        first += table.num_rows
        stems = pa.array(map(stem_path, table["key"].to_pylist()), pa.string())
        sides = pa.array(np.full(len(rows), is_truth))
        sided = pa.table([stems, sides, pa.array(rows), *table.columns], schema=SIDED)
        yield sided if others is None else sided.filter(pa.array(~others[rows]))


def _affix_rule(rest: Rest) -> tuple[str, tuple[KeyOf, KeyOf]] | None:
    """The affixes of predictions and truths that pair the most; None where they say nothing."""
    try:
        theirs, ours, pairs = affixes_that_pair(rest)
    except SettingsError:  # two kinds of masks fit alike: neither is guessed
        return None
    is_clear = Affix() in (theirs, ours) or (theirs.names_a_role and ours.names_a_role)
    if pairs < FEWEST or theirs == ours or not is_clear:
        return None
    return f"{ours} with {theirs}", (
        lambda key: ours.bare(file_name(stem_path(key))),
        lambda key: theirs.bare(file_name(stem_path(key))),
    )


def _ties_in_order(rows: SortedTable) -> Iterator[pa.Table]:
    """FOUND rows by key; of one key predictions first, each side in its own order.

    Only files that differ in their extension are of one key, so there are few of each.
    """
    order = [(name, "ascending") for name in ("key", "is_truth", "row")]
    held = FOUND.empty_table()
    for table in rows:
        table = pa.concat_tables([held, table])
        through = pc.index(table["key"], table["key"][-1]).as_py()
        held = table.slice(through)
        yield table.slice(0, through).sort_by(order)
    yield held.sort_by(order)


def _pair(key: str, is_truth: bool, row: int, *parts: Any) -> Pair:
    *places, code, message = parts
    prediction, truth = (
        MaskFile(*one) if one[0] is not None else None for one in (places[:3], places[3:])
    )
    return Pair(key, prediction, truth, ErrorCode(code) if code else None, message or "")


def _files(files: Iterable[MaskFile]) -> MaskFiles:
    return files if isinstance(files, MaskFiles) else MaskFiles.of(files)
