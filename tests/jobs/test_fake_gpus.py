"""GPUs that only Ray counts: what needs a cluster of them, and what needs none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from maskmill.jobs.engines.cluster import Cluster
from maskmill.jobs.engines.gpus import Gpus
from maskmill.jobs.engines.ray import RayEngine
from maskmill.jobs.engines.watch import Watch
from maskmill.schemas.errors import SettingsError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_clusters_of_gpus_that_only_ray_counts() -> None:
    """Of two nodes with three, and of none that may grow.

    In a process of its own: Ray makes up its mind about tokens when it is first imported.
    """
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    files = ["tests/jobs/fake_gpus.py", "tests/jobs/fake_autoscaler.py"]
    words = [sys.executable, "-m", "pytest", "-q", *files]
    done = subprocess.run(words, cwd=ROOT, env=plain, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "......" in done.stdout or "ssssss" in done.stdout


@pytest.mark.parametrize("share", [-0.5, 1.5, 2])
def test_no_worker_has_more_than_one_gpu(share):
    nodes = Cluster(cpus=4, gpus=Gpus(), is_own=True, watch=Watch(is_own=True))
    with pytest.raises(SettingsError, match="each uses one at most"):
        RayEngine(nodes, workers=None, gpus_per_worker=share)
