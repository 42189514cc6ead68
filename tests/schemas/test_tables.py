"""Tables describe their columns; files hold the rows and not the words."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.tables.audit import AUDIT
from maskmill.schemas.tables.columns import column, description_of, fields_of, undescribed
from maskmill.schemas.tables.convert import CONVERSION
from maskmill.schemas.tables.prelabel import METADATA

INNER = pa.struct([column("index", pa.int32(), "class index")])
MADE = pa.schema([
    column("key", pa.string(), "its path, posix", nullable=False),
    column("classes", pa.list_(INNER), "one per class"),
    column("best", INNER, "the largest"),
])  # fmt: skip
ROWS = [{"key": "a", "classes": [{"index": 1}], "best": {"index": 1}}]


def described(schema: pa.Schema) -> dict[str, str]:
    return {path: description_of(field) for path, field in fields_of(schema)}


def test_fields_inside_fields_are_found():
    assert described(MADE) == {
        "key": "its path, posix",
        "classes": "one per class", "classes.index": "class index",
        "best": "the largest", "best.index": "class index",
    }  # fmt: skip


def test_descriptions_survive_rows_and_casts():
    table = pa.Table.from_pylist(ROWS, schema=MADE)
    assert described(table.schema) == described(MADE)
    plain = pa.Table.from_pylist(ROWS, schema=undescribed(MADE))
    assert described(plain.cast(MADE).schema) == described(MADE)
    assert pa.concat_tables([plain, table]).num_rows == 2  # rows of an earlier version, and new


@pytest.mark.parametrize("schema", [METADATA, AUDIT, CONVERSION])
def test_without_words_it_is_the_same_schema(schema: pa.Schema):
    plain = undescribed(schema)
    assert plain.equals(schema) and not plain.equals(schema, check_metadata=True)
    assert set(described(plain).values()) == {""} and list(described(plain)) == list(
        described(schema)
    )


def test_files_of_a_run_hold_no_words(tmp_path):
    layout = RunLayout(str(tmp_path))
    layout.write_table("a.parquet", pa.Table.from_pylist(ROWS, schema=MADE))
    written = pq.read_table(tmp_path / "a.parquet")
    assert written.schema.equals(MADE) and written.to_pylist() == ROWS
    assert set(described(written.schema).values()) == {""}
    assert b"its path, posix" not in (tmp_path / "a.parquet").read_bytes()
