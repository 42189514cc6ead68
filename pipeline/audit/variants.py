"""Cityscapes' several files of one picture: which of them is its label mask."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.storage.sorted_table import SortedTable, row_tables, rows_of

OTHER_VARIANTS: Final = ("_instanceIds", "_instanceTrainIds", "_color", "_polygons")
"""Endings of files that lie beside Cityscapes label masks and are none."""

_NUMBERINGS: Final = ("_labelTrainIds", "_labelIds")
_ASKED: Final = pa.schema(
    [
        ("stem", pa.string()),
        ("row", pa.int64()),  # that is no label mask where a file of this stem is; null: it is
    ]
)


def other_variants(
    stems: Iterable[str], count: int, *, train_ids: bool, skipped: Counter[str]
) -> npt.NDArray[np.bool_] | None:
    """Which files are left out, as the picture has a label mask among them; None for none.

    Args:
        stems: the files' keys without extension, in their order; gone through twice.
        count: how many there are.
        train_ids: of two label masks per picture, take labelTrainIds.
        skipped: hears of those that are left out, by what they are.
    """
    endings = (*OTHER_VARIANTS, _wanted_and_other(train_ids)[1])
    asked = SortedTable(row_tables(_asked(stems, train_ids), _ASKED), _ASKED, by="stem")
    found = np.zeros(count if asked.num_rows else 0, np.bool_)
    for _, group in groupby(rows_of(asked.alike()), key=itemgetter(0)):
        rows = [row for _, row in group]
        if None in rows:
            found[[row for row in rows if row is not None]] = True
    if not found.any():
        return None
    for stem, is_other in zip(stems, found, strict=True):
        if is_other:
            skipped[next(ending for ending in endings if stem.endswith(ending))] += 1
    return found


def _wanted_and_other(train_ids: bool) -> tuple[str, str]:
    wanted, other = _NUMBERINGS[:: 1 if train_ids else -1]
    return wanted, other


def _asked(stems: Iterable[str], train_ids: bool) -> Iterator[tuple[str, int | None]]:
    """Label masks; and of each file that may be another variant, which ones would show it."""
    wanted, other = _wanted_and_other(train_ids)
    endings = (*OTHER_VARIANTS, *_NUMBERINGS)
    for row, stem in enumerate(stems):
        if not stem.endswith(endings):
            continue
        if stem.endswith(_NUMBERINGS):
            yield stem, None
        if stem.endswith(other):
            yield stem.removesuffix(other) + wanted, row
        for variant in OTHER_VARIANTS:
            if stem.endswith(variant):
                bare = stem.removesuffix(variant)
                yield bare + wanted, row
                yield bare + other, row
