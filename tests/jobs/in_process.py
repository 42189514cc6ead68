"""Jobs in this process, through the seam that users take: `run(job, engine=local)`."""

from pathlib import Path

from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.run import run
from maskmill.pipeline.prelabel.job import PrelabelJob
from maskmill.pipeline.prelabel.settings import PrelabelSettings
from maskmill.pipeline.runs.layout import RunLayout

SMALL = {
    "model": "deeplabv3_mobilenet_v3_large",
    "untrained": True,
    "image_size": 65,
    "block_images": 4,
    "precision": "fp32",
}
"""A network without weights on small pictures: quick, and the same everywhere."""


def run_in_process(
    source: Path, out: Path, command: str = "prelabel", **settings: object
) -> RunLayout:
    """Label ``source`` with random weights, block after block, and finish the run."""
    values = {"source": str(source), "out": str(out), **SMALL, **settings}
    job = PrelabelJob(PrelabelSettings(**values), command)
    run(job, RunOptions(engine="local"))
    return job.layout
