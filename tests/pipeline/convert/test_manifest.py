"""The manifest of a conversion: by key, whatever order the samples come in, and never held."""

import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.convert.manifest import manifest_file
from maskmill.pipeline.convert.splits import split_of
from maskmill.pipeline.datasets.samples import SampleItem
from maskmill.pipeline.pictures.names import stem_of

KEYS = st.lists(
    st.tuples(st.sampled_from(["a", "b/c", "é", "x.y"]), st.sampled_from(["", ".jpg", ".png"])),
    unique=True, min_size=1,
).map(lambda parts: ["".join(part) for part in parts])  # fmt: skip
SHARES = {"train": 0.5, "val": 0.5}


@given(keys=KEYS, block=st.integers(1, 5), data=st.data())
@settings(deadline=None, max_examples=60)
def test_rows_follow_from_the_keys_alone(keys, block, data):
    items = [
        SampleItem(key=key, split=data.draw(st.sampled_from(["", "mine"])), payload={"n": key})
        for key in keys
    ]
    made = manifest_file(items, shares=SHARES, seed=3, block_samples=block)
    shuffled = data.draw(st.permutations(items))
    again = manifest_file(iter(shuffled), shares=SHARES, seed=3, block_samples=block)
    assert (made.samples, made.sha256, made.sizes) == (again.samples, again.sha256, again.sizes)
    rows = pq.read_table(made.stream).to_pylist()
    assert rows == pq.read_table(again.stream).to_pylist()
    assert [row["key"] for row in rows] == sorted(keys)
    assert [row["image_id"] for row in rows] == list(range(1, len(keys) + 1))
    assert [row["block"] for row in rows] == [place // block for place in range(len(keys))]
    splits = {item.key: item.split or split_of(item.key, SHARES, 3) for item in items}
    stems = [stem_of(key) for key in keys]
    for row in rows:
        assert (row["split"], json.loads(row["payload"])) == (splits[row["key"]], {"n": row["key"]})
        alone = stems.count(stem_of(row["key"])) == 1
        assert row["output"] == (stem_of(row["key"]) if alone else row["key"])


BUDGET = """
import sys
from pathlib import Path
from maskmill.pipeline.convert.manifest import manifest_file
from maskmill.pipeline.datasets.samples import SampleItem

count = int(sys.argv[1])
keys = (f"{'a-long-way-down/' * 6}Frame_{number:010}.jpg" for number in range(count))
made = manifest_file(SampleItem(key=key, payload={"mask": key}) for key in keys)
assert made.samples == count
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_samples():
    """200,000 more, 230 bytes each: 150 MB if their keys were held."""
    peaks = []
    for count in (200_000, 400_000):
        command = [sys.executable, "-c", BUDGET, str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] - peaks[0] < 40, peaks
