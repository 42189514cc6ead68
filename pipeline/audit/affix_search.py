"""The affixes by which most of what is left pairs: as in mask_names.py, with names on disk.

Memory holds a sample of the truths, the affixes that many names have, and folders' names.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import groupby, islice
from typing import Final

import pyarrow as pa

from maskmill.pipeline.audit.matches import Matches, Rest
from maskmill.pipeline.audit.pair_rules import KeyOf
from maskmill.pipeline.datasets.mask_names import SAMPLE, TRIED
from maskmill.pipeline.datasets.name_affixes import (
    Affix,
    Way,
    affixes_of,
    best_way,
    is_frequent,
)
from maskmill.pipeline.pictures.names import stem_of
from maskmill.pipeline.storage.sorted_table import SortedTable, row_tables, rows_of

_TEXT: Final = pa.schema([("text", pa.string())])
_PLACED: Final = pa.schema([("row", pa.int64()), ("key", pa.string())])

_BEGINS, _ENDS = "<>"  # what the text of an affix begins with


def affixes_that_pair(rest: Rest) -> Way:
    """The affixes of truths (as masks) and predictions (as pictures) that pair the most.

    Raises:
        SettingsError: truths of two kinds fit equally well.
    """
    plain = Way(Affix(), Affix(), _pairs(rest, Affix(), Affix()))
    truths = rest.counts[1]
    if plain.pairs * 2 > truths:
        return plain
    hits = sorted(_hits(rest).items(), key=lambda hit: (-hit[1], hit[0]))
    ways = [Way(one, other, _pairs(rest, one, other)) for (one, other), _ in hits[:TRIED]]
    return best_way(plain, ways, partial(_bearers, rest))


def _bearers(rest: Rest, affix: Affix) -> int:
    return sum(affix.bare(_stem(key)) is not None for key in rest.keys(is_truth=True))


def _hits(rest: Rest) -> Counter[tuple[Affix, Affix]]:
    """For affixes of truths and predictions, how many truths of a sample they give a partner."""
    sample = list(_sampled(rest))
    wanted: dict[str, Counter[Affix]] = defaultdict(Counter)
    for one in _frequent(rest, is_truth=True):
        for stem in sample:
            bare = one.bare(stem)
            if bare is not None:
                wanted[bare][one] += 1
    others = _frequent(rest, is_truth=False)
    shown: set[tuple[Affix, str]] = set()
    for stem in map(_stem, rest.keys(is_truth=False)):
        bares = ((other, other.bare(stem)) for other in others)
        shown.update((other, bare) for other, bare in bares if bare and bare in wanted)
    hits: Counter[tuple[Affix, Affix]] = Counter()
    for other, bare in shown:
        for one, count in wanted[bare].items():
            if one != other:
                hits[one, other] += count
    return hits


def _sampled(rest: Rest) -> Iterator[str]:
    """Names of truths at even distances in their own order."""
    placed = (table.filter(table["is_truth"]).select(_PLACED.names) for table in rest.tables())
    keys = (key for _, key in rows_of(SortedTable(placed, _PLACED, by="row")))
    return map(_stem, islice(keys, 0, None, max(1, rest.counts[1] // SAMPLE)))


def _frequent(rest: Rest, *, is_truth: bool) -> list[Affix]:
    """Endings and beginnings that enough of the names have, and none."""
    stems = _sorted(map(_stem, rest.keys(is_truth=is_truth)))
    count = 0

    def every() -> Iterator[str]:
        nonlocal count
        for stem, _ in groupby(stems):
            count += 1
            yield from map(_text, affixes_of(stem))

    affixes = _sorted(every())
    sizes = ((text, sum(1 for _ in group)) for text, group in groupby(affixes))
    found = [text for text, size in sizes if is_frequent(size, count)]
    return [Affix(), *map(_affix, found)]


def _text(affix: Affix) -> str:
    return _BEGINS + affix.prefix if affix.prefix else _ENDS + affix.suffix


def _affix(text: str) -> Affix:
    return Affix(prefix=text[1:]) if text[0] == _BEGINS else Affix(suffix=text[1:])


def _sorted(texts: Iterable[str]) -> Iterator[str]:
    table = SortedTable(row_tables(((text,) for text in texts), _TEXT), _TEXT, by="text")
    return (text for (text,) in rows_of(table))


def _pairs(rest: Rest, one: Affix, other: Affix) -> int:
    """How many pairs truths of the one affix and predictions of the other make.

    A stray file makes a folder of its side a shared one, and nothing pairs: then those that have no
    partner in any folder are left out.
    """
    found = _pairs_in_folders(rest, one, other)
    if found:
        return found
    return _pairs_in_folders(Matches(rest, (_named(other), _named(one))).met, one, other)


def _pairs_in_folders(rest: Rest, one: Affix, other: Affix) -> int:
    """Pairs of those that alone have a name in the folders that both sides have."""
    folders = _folders(rest, other, is_truth=False) & _folders(rest, one, is_truth=True)
    return Matches(rest, (_named(other, folders), _named(one, folders))).pairs


def _folders(rest: Rest, affix: Affix, *, is_truth: bool) -> frozenset[str]:
    """Names of folders of files with that affix."""
    parents: set[str] = set()
    parents.update(
        key.rpartition("/")[0]
        for key in rest.keys(is_truth=is_truth)
        if affix.bare(_stem(key)) is not None
    )
    return frozenset(part for parent in parents for part in parent.split("/"))


def _named(affix: Affix, folders: frozenset[str] = frozenset()) -> KeyOf:
    """The name without the affix, below those of its folders that are among ``folders``."""

    def name_of(key: str) -> str | None:
        bare = affix.bare(_stem(key))
        if bare is None:
            return None
        parents = key.rpartition("/")[0].split("/")
        return "/".join((*(part for part in parents if part in folders), bare))

    return name_of


def _stem(key: str) -> str:
    return stem_of(key.rpartition("/")[2])
