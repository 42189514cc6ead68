"""An image that kills whatever touches it becomes a failed row, and the run finishes."""

import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.audit.proof import verify_audit
from maskmill.pipeline.prelabel.proof import verify_run
from maskmill.pipeline.runs.layout import RunLayout
from tests.jobs.deadly import DEADLY
from tests.jobs.test_audit_job import predictions, save, scene
from tests.sick_images import write_small_pictures

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def start(*arguments):
    code = "from tests.jobs.deadly import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip


def to_the_end(where, engine, source, out):
    """By Ray in one go; the local engine dies of it once, and knows better when started again."""
    ended = start(where, engine, source, out)
    if engine == "local":
        assert ended.returncode == -signal.SIGKILL
        ended = start(where, engine, source, out)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("engine", ["local", "ray"])
@pytest.mark.parametrize("stage", ["load", "predict", "save"])
def test_the_image_that_kills_its_worker_is_the_only_failed_row(tmp_path, engine, stage):
    source, out = tmp_path / "in", tmp_path / "out"
    write_small_pictures(source, 24, seed=6)
    to_the_end(stage, engine, source, out)
    rows = pq.read_table(out / "metadata").to_pylist()
    failed = [row for row in rows if row["status"] == "failed"]
    assert [Path(row["key"]).stem for row in failed] == [DEADLY]
    assert failed[0]["error_code"] == "worker_died"
    assert f"stage: {stage}" in failed[0]["error_message"]
    assert max(row["attempts"] for row in rows) >= 4
    assert sum(row["status"] == "ok" for row in rows) == 23
    steps = list(verify_run(RunLayout(str(out)), inputs=True))
    assert [problem for step in steps for problem in step.problems] == []


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_mask_that_kills_its_worker_is_the_only_failed_pair(tmp_path, engine):
    masks = {f"photo_{number:05}": scene(number) for number in (*range(12), 13)}
    save(tmp_path / "truth", masks)
    save(tmp_path / "good", predictions(masks, 0.02))
    to_the_end("audit", engine, tmp_path, tmp_path / "out")
    tables = [pq.ParquetFile(path).read() for path in (tmp_path / "out/pairs").iterdir()]
    rows = [row for table in tables for row in table.to_pylist()]
    assert [row["key"] for row in rows if row["status"] == "failed"] == [DEADLY]
    assert {row["error_code"] for row in rows} == {None, "worker_died"}
    steps = list(verify_audit(str(tmp_path / "out")))
    assert [problem for step in steps for problem in step.problems] == []
