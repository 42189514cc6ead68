"""A run that grows, killed where its manifest has grown and its run.json does not know it yet."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.prelabel.proof import verify_run
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import StoredManifest
from maskmill.pipeline.runs.numbering import BlockLimits, extend_manifest
from maskmill.pipeline.sources.registry import list_source
from maskmill.schemas.errors import RunRefused
from tests.jobs.in_process import SMALL, run_in_process
from tests.sick_images import write_small_pictures


def test_extend_goes_on_where_a_kill_came_between_manifest_and_record(tmp_path: Path):
    source, out = tmp_path / "in", tmp_path / "out"
    keys = write_small_pictures(source, 5, seed=3)
    layout = run_in_process(source, out)
    (source / "a new one.png").write_bytes((source / keys[0]).read_bytes())
    limits = BlockLimits(images=SMALL["block_images"])
    grown, _ = extend_manifest(StoredManifest(layout), list_source(str(source)), limits)
    grown.put(RunLayout(str(out)))
    with pytest.raises(RunRefused, match="--extend"):
        run_in_process(source, out)
    run_in_process(source, out, extend=True)
    rows = pq.read_table(out / "metadata", columns=["image_id", "key", "status"]).to_pylist()
    ids = {row["key"]: row["image_id"] for row in rows}
    assert ids == {**{key: place for place, key in enumerate(sorted(keys), 1)}, "a new one.png": 6}
    assert {row["status"] for row in rows} == {"ok"}
    assert [text for step in verify_run(layout) for text in step.problems] == []
