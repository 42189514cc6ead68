"""Which images people should look at first: the uncertain ones, and those with rare classes."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.selection.scores import rarity, standing
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


def review_order(layout: RunLayout, *, rarity_weight: float) -> pa.Table:
    """All ok images of a run, by falling score; schema REVIEW_ORDER.

    score = place by mean entropy in [0, 1] + rarity_weight * rarity of the rarest class, where the
    rarity of a class in k of n images is ln(n / k) / ln n, in [0, 1]. Ties go by image_id.

    Raises:
        SettingsError: the run has no ok image.
    """
    images: list[dict[str, Any]] = []
    seen: Counter[str] = Counter()
    for table in layout.committed_rows(_COLUMNS):
        for row in table.to_pylist():
            if row.pop("status") == "ok":
                names = [entry["name"] for entry in row.pop("classes") if entry["category_id"]]
                seen.update(names)
                images.append({**row, "names": names})
    if not images:
        raise SettingsError(f"{layout.root} has no labelled image to rank")
    return _ranked(images, seen, rarity_weight)


def write_order(layout: RunLayout, order: pa.Table) -> list[str]:
    """The order as CSV and Parquet; their full paths.

    In the CSV no name is computed by a spreadsheet (:func:`inert_cell`); the Parquet has them raw.
    """
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(_inert(order), sink)
    layout.write(f"{FOLDER}/order.csv", memoryview(sink.getvalue()))
    layout.write_table(f"{FOLDER}/order.parquet", order)
    return [layout.path(f"{FOLDER}/order.{extension}") for extension in ("csv", "parquet")]


def _inert(order: pa.Table) -> pa.Table:
    for place, field in enumerate(order.schema):
        if pa.types.is_string(field.type):
            cells = [cell and inert_cell(cell) for cell in order[field.name].to_pylist()]
            order = order.set_column(place, field, pa.array(cells, pa.string()))
    return order


def _ranked(images: list[dict[str, Any]], seen: Counter[str], rarity_weight: float) -> pa.Table:
    places = standing([image["mean_entropy"] for image in images])
    total = len(images)
    for image, place in zip(images, places, strict=True):
        rarest = min(image.pop("names"), key=lambda name: (seen[name], name), default=None)
        rare = rarity(seen[rarest], total) if rarest else 0.0
        image |= {"rarest_class": rarest, "rarity": rare, "score": place + rarity_weight * rare}
    images.sort(key=lambda image: (-image["score"], image["image_id"]))
    rows = [{"rank": rank, **image} for rank, image in enumerate(images, 1)]
    return pa.Table.from_pylist(rows, schema=REVIEW_ORDER)
