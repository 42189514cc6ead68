"""The run folder: whole files, block commits, retries that replace just their rows."""

import os

import pyarrow as pa
import pytest

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.rows import RowTable, commit_block
from maskmill.schemas.errors import RunFailed
from maskmill.schemas.tables.prelabel import METADATA

ROWS = RowTable(schema=METADATA)


def rows(block: int, ids: list[int], status: str = "ok") -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"image_id": n, "key": f"{n}.jpg", "uri": f"/{n}.jpg", "block": block, "status": status}
            for n in ids
        ],
        schema=METADATA,
    )


@pytest.fixture
def layout(tmp_path) -> RunLayout:
    return RunLayout(str(tmp_path / "out with spaces & %41"))


def test_written_files_are_read_back_and_leave_no_temporary_file(layout, tmp_path) -> None:
    layout.write("masks/a/b.png", b"one")
    layout.write("masks/a/b.png", b"two")
    assert layout.read("masks/a/b.png") == b"two"
    assert layout.exists("masks/a/b.png")
    left = [name for _, _, names in os.walk(layout.path("work")) for name in names]
    assert left == []


def test_a_reader_never_sees_half_a_file(layout, monkeypatch) -> None:
    layout.write("run.json", b"old")

    def dies(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", dies)
    with pytest.raises(KeyboardInterrupt):
        layout.write("run.json", b"new and longer")
    assert layout.read("run.json") == b"old"


def test_committed_blocks_come_in_order_with_their_rows(layout) -> None:
    for block, ids in ((2, [5, 6]), (0, [1, 2]), (1, [3, 4])):
        commit_block(layout, block, rows(block, ids), ROWS)
    assert layout.committed_blocks() == [0, 1, 2]
    ids = [
        n for table in layout.committed_rows(["image_id"]) for n in table["image_id"].to_pylist()
    ]
    assert ids == [1, 2, 3, 4, 5, 6]
    assert layout.committed_block(1).schema.equals(METADATA)


def test_nothing_is_committed_in_a_folder_that_is_not_there(layout) -> None:
    assert layout.committed_blocks() == []
    assert not layout.exists("run.json")
    with pytest.raises(FileNotFoundError):
        layout.read("run.json")


def test_a_retry_replaces_its_rows_and_keeps_the_others(layout) -> None:
    commit_block(layout, 0, pa.concat_tables([rows(0, [1, 3]), rows(0, [2], "failed")]), ROWS)
    commit_block(layout, 0, rows(0, [2]), ROWS)
    table = layout.committed_block(0)
    assert table["image_id"].to_pylist() == [1, 2, 3]
    assert table["status"].to_pylist() == ["ok"] * 3


def test_committing_twice_is_harmless(layout) -> None:
    commit_block(layout, 0, rows(0, [1, 2]), ROWS)
    first = layout.read(layout.block_path(0))
    commit_block(layout, 0, rows(0, [1, 2]), ROWS)
    assert layout.read(layout.block_path(0)) == first


def test_a_damaged_block_is_named_with_its_remedy(layout) -> None:
    layout.write(layout.block_path(7), b"PAR1 but not really")
    with pytest.raises(RunFailed, match=r"block-0000007\.parquet cannot be read.*delete it"):
        list(layout.committed_rows())
