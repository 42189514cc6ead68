"""What images cost beside the network, and what the driver holds: few against many.

    python benchmarks/many_rows.py [FEW MANY]

Pictures of 16x16 (hard links to a few files) through plan, load, save, commit, documents, then
verify and rank, each command a process of its own. **The network is left out**: the predict stage
gives every picture the logits that it gave the first one. Prints JSON lines: seconds an image and
peak memory (RSS) of each step, and what many cost in terms of few.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

LINKS = 50_000  # a file has at most some 65,000 names
FOLDER_FILES = 2_000
STEPS = ("prelabel", "verify", "rank")


def write_links(folder: Path, count: int) -> Path:
    """``count`` pictures, in folders of ``FOLDER_FILES``."""
    for number in range(count):
        name = folder / f"{number // FOLDER_FILES:05}" / f"photo_{number:08}.png"
        if number % FOLDER_FILES == 0:
            name.parent.mkdir(parents=True)
        if number % LINKS == 0:
            original = name
            Image.linear_gradient("L").resize((16, 16)).convert("RGB").save(name)
        else:
            os.link(original, name)
    return folder


@dataclass
class Recorded:
    """The predict stage of a network that has seen one picture and says the same of all."""

    open: Any
    answer: Any = None

    def __call__(self, parcels: pa.Table) -> pa.Table:
        from maskmill.pipeline.prelabel.parcels import Parcel, pack, unpack

        if self.answer is None:
            (first, *_) = unpack(self.open()(parcels))
            self.answer = first.items[0]
        views, name = self.answer.views, self.answer.worker
        return pack(
            Parcel(
                parcel.block,
                tuple(
                    replace(item, pictures=(), views=views, infer_ms=0.0, worker=name)
                    for item in parcel.items
                ),
            )
            for parcel in unpack(parcels)
        )


def prelabel(source: str, out: str) -> None:
    """The run, in this process; the job is the command's own but for its second stage."""
    from maskmill.jobs.engines.choice import RunOptions
    from maskmill.jobs.run import run
    from maskmill.pipeline.prelabel.job import PrelabelJob
    from maskmill.pipeline.prelabel.settings import PrelabelSettings
    from maskmill.pipeline.runs.stages import Stage

    class Job(PrelabelJob):
        def stages(self, plan: Any, session: str) -> Sequence[Stage]:
            load, predict, save = super().stages(plan, session)
            return load, replace(predict, open=partial(Recorded, predict.open)), save

    settings = PrelabelSettings(source=source, out=out, store="shards", image_size=33)
    run(Job(settings), RunOptions(engine="local"))


def seconds_and_memory(step: str, source: Path, out: Path) -> tuple[float, float]:
    """(seconds, MiB at the peak) of one step as a process of its own."""
    if step == "prelabel":
        command = [sys.executable, __file__, "--prelabel", str(source), str(out)]
    else:
        command = [sys.executable, "-m", "maskmill", step, str(out)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {status}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main(few: int = 10_000, many: int = 200_000) -> None:
    found: dict[int, dict[str, tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        for count in (few, many):
            source = write_links(Path(name) / f"source {count}", count)
            out = Path(name) / f"out {count}"
            found[count] = {step: seconds_and_memory(step, source, out) for step in STEPS}
    for step in STEPS:
        costs = {count: 1000 * steps[step][0] / count for count, steps in found.items()}
        figures = {
            "benchmark": f"{step} of many small images, without the network",
            "milliseconds_per_image": {str(n): round(cost, 3) for n, cost in costs.items()},
            "peak_mib": {str(n): round(steps[step][1]) for n, steps in found.items()},
            "many_by_few": round(costs[many] / costs[few], 3),
        }
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--prelabel"]:
        prelabel(*sys.argv[2:])
    else:
        main(*map(int, sys.argv[1:]))
