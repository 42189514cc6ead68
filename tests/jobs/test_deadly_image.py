"""An image that kills its worker every time becomes a failed row, and the run finishes."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.sick_images import write_small_pictures

# Python runs sitecustomize in every process it starts, workers included: the fault is injected
# there, into code that knows nothing of it.
KILLER = """
import functools, importlib.abc, importlib.util, os, signal, sys
TARGET, ATTRIBUTE = os.environ["DEADLY_TARGET"].split(":")

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != TARGET:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            *owners, attribute = ATTRIBUTE.split(".")
            owner = functools.reduce(getattr, owners, module)
            original = getattr(owner, attribute)
            def deadly(*args, **kwargs):
                if "photo_00013" in repr(args) + repr(kwargs):
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*args, **kwargs)
            setattr(owner, attribute, deadly)
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "target"),
    [
        ("load", "maskmill.pipeline.pictures.decoding:decode_image"),
        ("predict", "maskmill.pipeline.prelabel.predict:PredictMasks._predict"),
        ("save", "maskmill.pipeline.prelabel.writers.registry:ImageOutputs"),
    ],
)
def test_the_image_that_kills_its_worker_is_the_only_failed_row(tmp_path, maskmill, stage, target):
    source, out = tmp_path / "in", tmp_path / "out"
    write_small_pictures(source, 24, seed=6)
    (tmp_path / "sitecustomize.py").write_text(KILLER)
    result = maskmill(
        "prelabel",
        source,
        out,
        "--image-size",
        65,
        "--block-images",
        8,
        environment={"PYTHONPATH": str(tmp_path), "DEADLY_TARGET": target},
    )
    assert result.returncode == 3, result.stderr
    rows = pq.read_table(out / "metadata").to_pylist()
    failed = [row for row in rows if row["status"] == "failed"]
    assert [Path(row["key"]).stem for row in failed] == ["photo_00013"]
    assert failed[0]["error_code"] == "worker_died"
    assert f"stage: {stage}" in failed[0]["error_message"]
    assert max(row["attempts"] for row in rows) >= 4
    assert sum(row["status"] == "ok" for row in rows) == 23
    verified = maskmill("verify", out)
    assert verified.returncode == 0, verified.stdout
