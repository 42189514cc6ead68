"""From how many items on each job is done sooner by Ray than in this process.

    python benchmarks/crossing.py [ROUNDS]

Each engine's time is a start and a pace, from whole processes at two sizes (the quickest of ROUNDS:
what disturbs a machine only ever adds). The lines cross where Ray's later start is made up for.
"""

import json
import sys
import tempfile
from pathlib import Path

from engines import Command, maskmill, seconds_of, write_masks
from pictures import write_crops

SIZES = {"prelabel": (100, 1000), "convert": (500, 5000), "audit": (200, 1500)}
ENGINES = ("local", "ray")


def write_inputs(work: Path, job: str, count: int) -> Command:
    """``count`` items of a job, and the command line that does them."""
    here = work / f"{job}-{count}"
    here.mkdir()
    if job == "prelabel":
        write_crops(here / "photos", count, (500, 500))
        return lambda engine, out: ("prelabel", here / "photos", out, "--engine", engine)
    write_masks(here / "masks", count)
    if job == "convert":
        return lambda engine, out: (
            "convert", here / "masks", out, "--from", "masks", "--to", "coco", "--labels", "voc",
            "--engine", engine,
        )  # fmt: skip
    write_masks(here / "truth", count, seed=1)
    return lambda engine, out: (
        "audit", here / "masks", here / "truth", "--labels", "voc", "--out", out,
        "--engine", engine,
    )  # fmt: skip


def measure(work: Path, job: str, rounds: int) -> dict[str, object]:
    """Start and pace of both engines, and where they cross (None: never)."""
    quickest: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    for count in SIZES[job]:
        command = write_inputs(work, job, count)
        for engine in ENGINES:
            outs = [work / f"{job}-{engine}-{count}-{number}" for number in range(rounds)]
            quickest[engine].append(
                min(seconds_of(maskmill(*command(engine, out))) for out in outs)
            )
    few, many = SIZES[job]
    pace = {name: (long - short) / (many - few) for name, (short, long) in quickest.items()}
    start = {name: short - few * pace[name] for name, (short, _) in quickest.items()}
    gain = pace["local"] - pace["ray"]
    return {
        "benchmark": f"{job}: from where Ray is sooner",
        "seconds": {name: [round(one, 2) for one in found] for name, found in quickest.items()},
        "start_seconds": {name: round(one, 2) for name, one in start.items()},
        "items_per_second": {name: round(1 / one, 1) for name, one in pace.items()},
        "crossing": round((start["ray"] - start["local"]) / gain) if gain > 0 else None,
    }


def main(rounds: int = 1) -> None:
    with tempfile.TemporaryDirectory() as name:
        for job in SIZES:
            print(json.dumps(measure(Path(name), job, rounds)), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
