"""Both engines on small jobs, and `auto` on a middling one: whole processes, side by side.

    python benchmarks/engines.py [ROUNDS]

Prints JSON lines; every ratio has both sides measured in this run, in turn, as medians.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pictures import write_crops
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = 290
PHOTO_SIZE = (500, 500)
LONG_ROUNDS = 3
LOOP = (
    "import sys; from pathlib import Path; import prelabel_throughput as loops;"
    "getattr(loops, sys.argv[4])(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))"
)
LOOPS = {"plain fp32 loop": "plain_loop", "fp32 loop, fused network": "fused_loop"}

Command = Callable[[str, Path], Sequence[object]]
"""(engine, out) -> the command line after `maskmill`."""


def seconds_of(command: Sequence[object], cwd: Path = ROOT) -> float:
    """Wall time of a process from start to end."""
    started = time.perf_counter()
    subprocess.run([str(part) for part in command], cwd=cwd, check=True, capture_output=True)
    return time.perf_counter() - started


def maskmill(*arguments: object) -> list[object]:
    return [sys.executable, "-m", "maskmill", *arguments]


def side_by_side(
    commands: dict[str, Callable[[Path], float]], work: Path, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each, in turn, round after round; each time into a folder of its own."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds):
        for name, command in commands.items():
            found[name].append(command(work / f"{name}-{number}"))
    return found


def engines(command: Command, names: Sequence[str]) -> dict[str, Callable[[Path], float]]:
    return {
        name: lambda out, name=name: seconds_of(maskmill(*command(name, out))) for name in names
    }


def say(benchmark: str, found: dict[str, list[float]], **more: object) -> dict[str, float]:
    medians = {name: statistics.median(values) for name, values in found.items()}
    seconds = {name: [round(value, 2) for value in values] for name, values in found.items()}
    shown = {name: round(value, 2) for name, value in medians.items()}
    print(
        json.dumps({"benchmark": benchmark, "median": shown, "seconds": seconds, **more}),
        flush=True,
    )
    return medians


def small_jobs(work: Path, rounds: int) -> None:
    write_crops(work / "three", 3)
    write_masks(work / "masks", 3)
    write_masks(work / "truth", 20)
    write_masks(work / "predictions", 20, seed=1)
    jobs: dict[str, Command] = {
        "3 pictures prelabelled": lambda name, out: (
            "prelabel", work / "three", out, "--engine", name,
        ),
        "3 masks converted": lambda name, out: (
            "convert", work / "masks", out, "--from", "masks", "--to", "coco", "--labels", "voc",
            "--engine", name,
        ),
        "20 pairs audited": lambda name, out: (
            "audit", work / "predictions", work / "truth", "--labels", "voc", "--out", out,
            "--engine", name,
        ),
    }  # fmt: skip
    for title, command in jobs.items():
        found = side_by_side(engines(command, ("local", "ray")), work / title, rounds)
        medians = {name: statistics.median(values) for name, values in found.items()}
        say(title, found, ray_by_local=round(medians["ray"] / medians["local"], 2))


def write_masks(folder: Path, count: int, seed: int = 0) -> None:
    """Masks of 500 x 375 with a few classes of VOC in blocks."""
    folder.mkdir()
    for number in range(count):
        blocks = np.random.default_rng(seed + number).integers(0, 5, (15, 20))
        Image.fromarray(blocks.repeat(25, 0).repeat(25, 1).astype(np.uint8)).save(
            folder / f"{number:03}.png"
        )


def photographs(work: Path) -> None:
    source = write_crops(work / "photos", PHOTOS, PHOTO_SIZE)
    commands = engines(
        lambda name, out: ("prelabel", source, out, "--engine", name), ("auto", "local", "ray")
    )
    for title, loop in LOOPS.items():
        commands[title] = lambda out, loop=loop: seconds_of(
            [sys.executable, "-c", LOOP, source, out, PHOTOS - 4, loop], ROOT / "benchmarks"
        )
    found = side_by_side(commands, work, LONG_ROUNDS)
    medians = {name: statistics.median(values) for name, values in found.items()}
    say(
        f"{PHOTOS} photographs of {PHOTO_SIZE[0]}x{PHOTO_SIZE[1]}",
        found,
        auto_by_faster=round(medians["auto"] / min(medians["local"], medians["ray"]), 3),
        **{
            f"{loop} by auto": round(medians[title] / medians["auto"], 2)
            for title, loop in LOOPS.items()
        },
    )


def main(rounds: int = 5) -> None:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for title in ("3 pictures prelabelled", "3 masks converted", "20 pairs audited"):
            (work / title).mkdir()
        small_jobs(work, rounds)
        photographs(work)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
