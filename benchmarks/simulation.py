"""The simulation of this machine's cores against a run on them, all of it measured here and now.

    python benchmarks/simulation.py [IMAGES]

Prints a JSON line; exits 1 where the two are more than a tenth apart. What goes in are CPU seconds:
of each stage, by the job's own stages in a process per core before and after the run
(stage_costs.py), and of Ray's own processes during it. What it is held against is the run's rate
between a tenth and nine tenths of its blocks, by the time of the cores that others left to it
(machine_time.py): on a machine that does nothing else, that is the time on the wall. Beside busy
neighbours all is less certain: caches are shared, too.
"""

import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from graph_simulator import simulate, whole_block_graph
from machine_time import MachineTime
from pictures import write_crops
from prelabel_throughput import CORES, say
from runs import WatchedRun, watch_prelabel
from stage_costs import stage_costs

BLOCK_IMAGES = 32
COST_BLOCKS = 4
MOST_APART = 0.1


def predicted(costs: Mapping[str, float], engine: float) -> float:
    """Images per second of whole blocks on all cores, by CPU seconds per image."""
    stages, machines = whole_block_graph(
        cores=CORES,
        load=costs["load"],
        forward=costs["predict"],
        save=costs["save"],
        engine=engine,
    )
    return simulate(stages, machines, block_images=BLOCK_IMAGES).images_per_second


def mean_costs(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of several rounds."""
    return {name: statistics.mean(one[name] for one in found) for name in found[0]}


def watched(crops: Path, out: Path) -> tuple[WatchedRun, float, float]:
    """A run; CPU seconds of Ray's own per image, and the part of the cores that it could have."""
    time_of = MachineTime()
    options = ("--engine", "ray", "--block-images", BLOCK_IMAGES)
    run = watch_prelabel(crops, out, *options, block_images=BLOCK_IMAGES)
    time_of.stop()
    start, end = run.steady
    spent = time_of.between(start, end)
    others = max(0.0, spent.busy - spent.workers - spent.engine)
    return (
        run,
        spent.engine / (run.steady_rate * (end - start)),
        1 - others / (CORES * (end - start)),
    )


def main(count: int = 1200) -> int:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        crops = write_crops(work / "crops", count)
        few = write_crops(work / "few", COST_BLOCKS * BLOCK_IMAGES)
        costs = [stage_costs(few, work / "before", BLOCK_IMAGES, CORES)]
        run, engine, share = watched(crops, work / "out")
        costs.append(stage_costs(few, work / "after", BLOCK_IMAGES, CORES))
    simulated, measured = predicted(mean_costs(costs), engine), run.steady_rate / share
    apart = simulated / measured - 1
    say(
        benchmark="simulated / measured prelabel on cores",
        cores=CORES,
        images=run.images,
        **{f"{name}_ms": seconds * 1000 for name, seconds in mean_costs(costs).items()},
        predict_ms_before=costs[0]["predict"] * 1000,
        predict_ms_after=costs[1]["predict"] * 1000,
        engine_ms=engine * 1000,
        left_by_others=share,
        on_the_wall=run.steady_rate,
        simulated=simulated,
        measured=measured,
        ratio=1 + apart,
        holds=abs(apart) <= MOST_APART,
    )
    return 0 if abs(apart) <= MOST_APART else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
