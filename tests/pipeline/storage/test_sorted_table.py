"""Sorting on disk gives what sorting in memory gives, however little of it is held."""

import subprocess
import sys

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.storage.sorted_table import SortedTable

NAMED = pa.schema([("key", pa.string()), ("row", pa.int64())])
KEYS = st.lists(st.text(st.sampled_from("aB.é/\U0001f600"), max_size=4), max_size=40)


def tables_of(keys: list[str], at_once: int) -> list[pa.Table]:
    rows = list(enumerate(keys))
    parts = [rows[start : start + at_once] for start in range(0, len(rows), at_once)]
    return [
        pa.table([[key for _, key in part], [row for row, _ in part]], schema=NAMED)
        for part in parts
    ]


def rows_of(tables) -> list[tuple[str, int]]:
    return [tuple(row.values()) for table in tables for row in table.to_pylist()]


@given(KEYS, st.integers(1, 9), st.sampled_from([0, 40, 10_000]))
@settings(deadline=None, max_examples=150)
def test_rows_come_by_code_points_each_once(keys: list[str], at_once: int, run_bytes: int):
    table = SortedTable(tables_of(keys, at_once), NAMED, by="key", run_bytes=run_bytes)
    found = rows_of(table)
    assert [key for key, _ in found] == sorted(keys)
    assert sorted(found) == sorted((key, row) for row, key in enumerate(keys))
    assert sorted(rows_of(table)) == sorted(found)  # as often as it is asked for
    assert table.num_rows == table.table.num_rows == len(keys)


@pytest.mark.parametrize("run_bytes", [1, 1 << 20])
def test_many_runs_and_many_batches(run_bytes: int):
    keys = [f"{number * 7919 % 20_011:05}" for number in range(20_011)]
    table = SortedTable(tables_of(keys, 5_000), NAMED, by="key", run_bytes=run_bytes)
    assert [key for key, _ in rows_of(table)] == sorted(keys)
    by_row = SortedTable(table, NAMED, by="row", run_bytes=run_bytes)
    assert [row for _, row in rows_of(by_row)] == list(range(len(keys)))
    assert rows_of(table.head(7)) == rows_of(table)[:7]


BUDGET = """
import sys
from pathlib import Path
import pyarrow as pa
from maskmill.pipeline.runs.manifest import StoredManifest
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.differences import compare_inputs
from maskmill.pipeline.runs.numbering import build_manifest
from maskmill.pipeline.sources.entries import SourceEntry
from maskmill.pipeline.sources.registry import Listing, sorted_entries

count = int(sys.argv[2])
keys = (f"day_{number * 7919 % 365:03}/camera/Frame_{number:010}.jpg" for number in range(count))
root = "s3://archive-of-everything/" + "a-long-way-down/" * 8
rows = sorted_entries(SourceEntry(key, root + key, 1000) for key in keys)
listing = Listing(root, "folder", root, rows, {}, ())
manifest, _ = build_manifest(listing)
layout = RunLayout(sys.argv[1])
manifest.put(layout)
stored = StoredManifest(layout)
assert stored.sha256 == manifest.sha256 and stored.num_rows == count
assert compare_inputs(stored, listing).same_images
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_keys(tmp_path):
    """A quarter and a whole million, 245 bytes each: 180 MB more if they were held."""
    peaks = []
    for count in (250_000, 1_000_000):
        command = [sys.executable, "-c", BUDGET, str(tmp_path / str(count)), str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < 400 and peaks[1] - peaks[0] < 60, peaks
