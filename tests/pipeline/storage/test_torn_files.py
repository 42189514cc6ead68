"""Files of a run folder that are empty, cut off, or somebody else's: a sentence, never a trace."""

from pathlib import Path

import pyarrow as pa
import pytest

from maskmill.pipeline.runs.attempts import FIRST_STAGE, begin_stage
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import load_record
from maskmill.schemas.errors import RunFailed


@pytest.fixture(params=["disk", "s3"])
def layout(request, tmp_path: Path) -> RunLayout:
    if request.param == "disk":
        return RunLayout(str(tmp_path))
    return RunLayout(request.getfixturevalue("place"))


def torn_versions(layout: RunLayout) -> list[bytes]:
    layout.write_table("whole.parquet", pa.table({"x": list(range(5000))}))
    whole = layout.read("whole.parquet")
    return [b"", whole[: len(whole) // 2], whole[:-4], b"\0" * len(whole), b"PAR1"]


def test_torn_parquet_says_its_size_and_the_remedy(layout):
    for data in torn_versions(layout):
        layout.write("manifest/manifest.parquet", data)
        expected = rf"manifest\.parquet cannot be read as Parquet \({len(data):,} bytes\): .+; put"
        with pytest.raises(RunFailed, match=expected):
            layout.read_table("manifest/manifest.parquet")
        with pytest.raises(RunFailed, match=r"; start anew$"):
            layout.read_table("manifest/manifest.parquet", remedy="start anew")
    with pytest.raises(RunFailed, match="cannot be read as Parquet"):
        layout.read_table("whole.parquet", ["no such column"])


def test_a_torn_block_is_done_anew_when_it_is_deleted(layout):
    for data in torn_versions(layout):
        layout.write(layout.block_path(3), data)
        with pytest.raises(RunFailed, match=r"block-0000003\.parquet.*delete it and run the same"):
            layout.committed_block(3)


def test_a_file_that_is_missing_is_missing_and_not_torn(layout):
    with pytest.raises(FileNotFoundError):
        layout.read_table("never/was")


@pytest.mark.parametrize("data", [b"", b'{"command": "pre', b"\xff\xfe", b"\0\0\0", b"[1]"])
def test_a_torn_record_is_a_sentence_and_a_torn_note_is_none(layout, data: bytes):
    layout.write(layout.run_record, data)
    with pytest.raises(RunFailed, match=r"run\.json is not a run record.*remove the folder"):
        load_record(layout)
    layout.write(layout.attempts_path(1), data)
    assert begin_stage(layout, 1, FIRST_STAGE, "session").starts == 1


def test_a_store_that_fails_is_not_a_torn_file(place: str, proxy):
    layout = RunLayout(place + "&retry_seconds=1")
    layout.write_table(layout.block_path(0), pa.table({"x": [1]}))
    proxy.faults.down = True
    with pytest.raises(OSError, match="gave up after"):
        layout.committed_block(0)


def test_strangers_among_the_blocks(layout):
    table = pa.table({"x": [1]})
    for name in ("block-0000001.parquet", "block-0000002.parquet~", "block-x.parquet", "notes.txt"):
        layout.write_table(f"metadata/{name}", table)
    assert layout.committed_blocks() == [1]
