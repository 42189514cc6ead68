"""The review order as files: names raw in Parquet, inert in CSV."""

import csv

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.prelabel.review_order import review_order, write_order
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.tables.prelabel import METADATA

NAMES = ("=HYPERLINK(1).jpg", "+a.jpg", "-a.jpg", "@a.jpg", "\ta.jpg", "plain, quoted.jpg")


@pytest.fixture
def layout(tmp_path) -> RunLayout:
    made = RunLayout(str(tmp_path))
    rows = [
        {
            "image_id": place, "key": name, "uri": f"/{name}", "block": 0, "status": "ok",
            "mean_entropy": 0.1 * place, "mean_margin": -0.5, "low_confidence_fraction": 0.0,
            "classes": [{"index": 1, "name": f"={name}", "category_id": 1}],
        }
        for place, name in enumerate(NAMES, 1)
    ]  # fmt: skip
    made.write_table(made.block_path(0), pa.Table.from_pylist(rows, schema=METADATA))
    return made


def test_a_spreadsheet_computes_no_name(layout, tmp_path):
    write_order(layout, review_order(layout, rarity_weight=0.5))
    with (tmp_path / "review/order.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["key"] for row in rows} == {f"'{name}" for name in NAMES[:-1]} | {NAMES[-1]}
    assert all(row["rarest_class"].startswith("'=") for row in rows)
    assert {row["mean_margin"] for row in rows} == {"-0.5"}  # a number is a number


def test_parquet_has_the_names_as_they_are(layout, tmp_path):
    write_order(layout, review_order(layout, rarity_weight=0.5))
    table = pq.read_table(tmp_path / "review/order.parquet")
    assert set(table["key"].to_pylist()) == set(NAMES)
