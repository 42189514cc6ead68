"""What images cost beside the network, and what the driver holds: few against many.

    python benchmarks/many_rows.py [COUNT …] [ENGINE]

Pictures of 16x16 (hard links to a few files) through plan, load, save, commit, documents, then
verify and rank, each command a process of its own. **The network is left out**: the predict stage
gives every picture the logits that it gave the first one. ENGINE is ray unless local is asked for:
with Ray the driver is a process without a network, locally it is the process that does the work.
Prints JSON lines: seconds of cores an image (of all processes of a step), seconds on the clock and
the peak memory (VmHWM) of the driver, what many cost in terms of few, and, what starting costs
left out, what each further image costs from one count to the next.
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
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image
from processes import CpuMeter, peak_bytes

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


def prelabel(source: str, out: str, engine: str) -> float:
    """The run, driven by this process; the job is the command's own but for its second stage.

    Seconds of cores that the workers had.
    """
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
    with CpuMeter() as meter:
        run(Job(settings), RunOptions(engine=engine))
    return meter.seconds


def do_step(step: str, source: str, out: str, engine: str, figures: str) -> None:
    """One step in this process; what it took goes into a file."""
    started, workers = time.perf_counter(), 0.0
    if step == "prelabel":
        workers = prelabel(source, out, engine)
    else:
        from maskmill.jobs.cli import main as command_line

        command_line([step, out], standalone_mode=False)
    found = {
        "cpu_seconds": time.process_time() + workers,
        "seconds": time.perf_counter() - started,
        "peak_mib": peak_bytes() / 2**20,
    }
    Path(figures).write_text(json.dumps(found))


def figures_of(step: str, source: Path, out: Path, engine: str) -> dict[str, float]:
    """What a step took, as a process of its own."""
    with tempfile.NamedTemporaryFile() as figures:
        given = ["--step", step, source, out, engine, figures.name]
        subprocess.run(
            [sys.executable, __file__, *map(str, given)], check=True, stdout=subprocess.DEVNULL
        )
        found: dict[str, float] = json.loads(figures.read())
    return found


def main(counts: Sequence[int], engine: str) -> None:
    found: dict[int, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        for count in counts:
            source = write_links(Path(name) / f"source {count}", count)
            out = Path(name) / f"out {count}"
            found[count] = {step: figures_of(step, source, out, engine) for step in STEPS}
            print(json.dumps({count: found[count]}), file=sys.stderr, flush=True)
    for step in STEPS:
        cpu = {count: 1000 * steps[step]["cpu_seconds"] for count, steps in found.items()}
        costs = {count: milliseconds / count for count, milliseconds in cpu.items()}
        figures = {
            "benchmark": f"{step} of many small images, without the network",
            **({"engine": engine} if step == "prelabel" else {}),
            "cpu_milliseconds_per_image": {str(n): round(cost, 3) for n, cost in costs.items()},
            "of_each_further_image": {
                f"{few} to {many}": round((cpu[many] - cpu[few]) / (many - few), 3)
                for few, many in pairwise(counts)
            },
            "seconds": {str(n): round(steps[step]["seconds"]) for n, steps in found.items()},
            "driver_peak_mib": {
                str(n): round(steps[step]["peak_mib"]) for n, steps in found.items()
            },
            "many_by_few": round(costs[counts[-1]] / costs[counts[0]], 3),
        }
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        do_step(*sys.argv[2:])
    else:
        given = sys.argv[1:]
        name = given.pop() if given and not given[-1].isdecimal() else "ray"
        main(sorted(map(int, given)) or [10_000, 50_000, 200_000], name)
