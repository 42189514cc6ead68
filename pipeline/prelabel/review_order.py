"""Which images people should look at first: the uncertain ones, and those with rare classes.

Some numbers of each image are held, 60 bytes; what is said of it goes by, over a file on disk.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.selection.scores import rarities, standing
from maskmill.pipeline.storage.sorted_table import SortedTable
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.tables.columns import undescribed
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
_IMAGES = pa.schema(
    [
        *(REVIEW_ORDER.field(name) for name in ("image_id", "key", *_COLUMNS[3:-1])),
        pa.field("named", pa.list_(pa.int32())),
    ]
)
IntArray = npt.NDArray[np.int64]


def review_order(layout: RunLayout, *, rarity_weight: float) -> SortedTable:
    """All ok images of a run, by falling score; schema REVIEW_ORDER.

    score = place by mean entropy in [0, 1] + rarity_weight * rarity of the rarest class, where the
    rarity of a class in k of n images is ln(n / k) / ln n, in [0, 1]. Ties go by image_id.

    Raises:
        SettingsError: the run has no ok image.
    """
    classes = _Classes()
    images = SortedTable(_ok_images(layout, classes), _IMAGES, by="image_id")
    if not images.num_rows:
        raise SettingsError(f"{layout.root} has no labelled image to rank")
    return SortedTable(_ranked(images, classes, rarity_weight), REVIEW_ORDER, by="rank")


def write_order(layout: RunLayout, order: SortedTable) -> list[str]:
    """The order as CSV and Parquet; their full paths.

    In the CSV no name is computed by a spreadsheet (:func:`inert_cell`); the Parquet has them raw.
    """
    plain = undescribed(order.schema)
    with tempfile.TemporaryFile() as cells, tempfile.TemporaryFile() as columns:
        with (
            pa_csv.CSVWriter(cells, order.schema) as csv,
            pq.ParquetWriter(columns, plain, compression="zstd") as parquet,
        ):
            for table in order:
                csv.write_table(_inert(table))
                parquet.write_table(table.cast(plain))
        for extension, spool in (("csv", cells), ("parquet", columns)):
            spool.seek(0)
            layout.write_stream(f"{FOLDER}/order.{extension}", cast(BinaryIO, spool))
    return [layout.path(f"{FOLDER}/order.{extension}") for extension in ("csv", "parquet")]


def _ok_images(layout: RunLayout, classes: "_Classes") -> Iterator[pa.Table]:
    for table in layout.committed_rows(_COLUMNS):
        good = table.filter(pc.equal(table["status"], "ok"))
        named = pa.array(classes.codes_of(good["classes"]), pa.list_(pa.int32()))
        yield good.append_column("named", named).select(_IMAGES.names).cast(_IMAGES)


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


def _ranked(images: SortedTable, classes: _Classes, rarity_weight: float) -> Iterator[pa.Table]:
    """REVIEW_ORDER rows in image_id order."""
    names, counts, places = classes.by_rarity()
    rarity_of = np.append(rarities(counts, images.num_rows), 0.0)  # the last: without any class
    title_of = pa.array([*names, None], pa.string())
    rarest = np.concatenate([_least(places, _flat(one, "named"), len(names)) for one in images])
    score = standing(np.concatenate([one["mean_entropy"].to_numpy() for one in images]))
    score += rarity_weight * rarity_of[rarest]
    rank = np.empty(len(score), np.int64)
    rank[np.argsort(-score, kind="stable")] = np.arange(1, len(score) + 1)
    first = 0
    for one in images:
        here = slice(first, first + one.num_rows)
        first = here.stop
        found = {
            "rank": rank[here],
            "score": score[here],
            "rarest_class": title_of.take(pa.array(rarest[here])),
            "rarity": rarity_of[rarest[here]],
        }
        columns = [found[name] if name in found else one[name] for name in REVIEW_ORDER.names]
        yield pa.table(columns, schema=REVIEW_ORDER)


def _flat(table: pa.Table, name: str) -> pa.Array:
    """A column as one array; an empty one has none."""
    return pa.concat_arrays([pa.array([], table[name].type), *table[name].chunks])


def _least(places: IntArray, named: pa.ListArray, none: int) -> IntArray:
    """The smallest place among the classes of each image; ``none`` where it has no class."""
    flat = np.append(places[named.flatten().to_numpy()], none)
    offsets = named.offsets.to_numpy() - named.offsets[0].as_py()
    least = np.minimum.reduceat(flat, offsets[:-1])
    return np.where(np.diff(offsets) == 0, none, least)
