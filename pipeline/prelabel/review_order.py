"""Which images people should look at first: the uncertain ones, and those with rare classes."""

import tempfile
from collections import Counter
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.selection.scores import rarities, standing
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.tables.prelabel import REVIEW_ORDER
from maskmill.schemas.text import inert_cell

_COLUMNS = [
    "image_id",
    "key",
    "status",
    "mean_entropy",
    "mean_margin",
    "low_confidence_fraction",
    "classes",
]
FOLDER = "review"
_ROWS_AT_ONCE = 10_000
IntArray = npt.NDArray[np.int64]


def review_order(layout: RunLayout, *, rarity_weight: float) -> pa.Table:
    """All ok images of a run, by falling score; schema REVIEW_ORDER.

    score = place by mean entropy in [0, 1] + rarity_weight * rarity of the rarest class, where the
    rarity of a class in k of n images is ln(n / k) / ln n, in [0, 1]. Ties go by image_id.

    Raises:
        SettingsError: the run has no ok image.
    """
    parts: list[pa.Table] = []
    classes = _Classes()
    for table in layout.committed_rows(_COLUMNS):
        good = table.filter(pc.equal(table["status"], "ok"))
        named = pa.array(classes.codes_of(good["classes"]), pa.list_(pa.int32()))
        parts.append(good.drop_columns(["status", "classes"]).append_column("named", named))
    if not any(part.num_rows for part in parts):
        raise SettingsError(f"{layout.root} has no labelled image to rank")
    return _ranked(pa.concat_tables(parts).combine_chunks(), classes, rarity_weight)


def write_order(layout: RunLayout, order: pa.Table) -> list[str]:
    """The order as CSV and Parquet; their full paths.

    In the CSV no name is computed by a spreadsheet (:func:`inert_cell`); the Parquet has them raw.
    """
    with tempfile.TemporaryFile() as spool:
        with pa_csv.CSVWriter(spool, order.schema) as writer:
            for start in range(0, order.num_rows, _ROWS_AT_ONCE):
                writer.write_table(_inert(order.slice(start, _ROWS_AT_ONCE)))
        spool.seek(0)
        layout.write_stream(f"{FOLDER}/order.csv", cast(BinaryIO, spool))
    layout.write_table(f"{FOLDER}/order.parquet", order)
    return [layout.path(f"{FOLDER}/order.{extension}") for extension in ("csv", "parquet")]


def _inert(order: pa.Table) -> pa.Table:
    for place, field in enumerate(order.schema):
        if pa.types.is_string(field.type):
            cells = [cell and inert_cell(cell) for cell in order[field.name].to_pylist()]
            order = order.set_column(place, field, pa.array(cells, pa.string()))
    return order


class _Classes:
    """Names by number, and in how many images each is; what an image holds is a few numbers."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._seen: Counter[int] = Counter()

    def codes_of(self, column: pa.ChunkedArray) -> list[list[int]]:
        """The numbers of the classes in each image, background left out; they are counted."""
        found = []
        for entries in column.to_pylist():
            names = (entry["name"] for entry in entries if entry["category_id"])
            codes = [self._numbers.setdefault(name, len(self._numbers)) for name in names]
            self._seen.update(codes)
            found.append(codes)
        return found

    def by_rarity(self) -> tuple[list[str], IntArray, IntArray]:
        """Names from the rarest, ties by name; how many images have each; number -> its place."""
        names = sorted(self._numbers, key=lambda name: (self._seen[self._numbers[name]], name))
        counts = np.array([self._seen[self._numbers[name]] for name in names], np.int64)
        places = np.empty(len(names), np.int64)
        places[[self._numbers[name] for name in names]] = np.arange(len(names))
        return names, counts, places


def _ranked(images: pa.Table, classes: _Classes, rarity_weight: float) -> pa.Table:
    total = images.num_rows
    names, counts, places = classes.by_rarity()
    rarest = _least(places, images["named"].combine_chunks(), len(names))
    rarity = np.append(rarities(counts, total), 0.0)[rarest]  # the last: images without any class
    score = standing(images["mean_entropy"].to_numpy()) + rarity_weight * rarity
    order = np.lexsort((images["image_id"].to_numpy(), -score))
    columns = {
        "rank": np.arange(1, total + 1),
        "score": score[order],
        "rarest_class": pa.array([*names, None], pa.string()).take(pa.array(rarest[order])),
        "rarity": rarity[order],
    }
    taken = images.take(pa.array(order))
    found = [columns.get(name) for name in REVIEW_ORDER.names]
    return pa.table(
        [
            taken[name] if one is None else one
            for name, one in zip(REVIEW_ORDER.names, found, strict=True)
        ],
        schema=REVIEW_ORDER,
    )


def _least(places: IntArray, named: pa.ListArray, none: int) -> IntArray:
    """The smallest place among the classes of each image; ``none`` where it has no class."""
    flat = np.append(places[named.flatten().to_numpy()], none)
    offsets = named.offsets.to_numpy() - named.offsets[0].as_py()
    least = np.minimum.reduceat(flat, offsets[:-1])
    return np.where(np.diff(offsets) == 0, none, least)
