"""The simulation of this machine's cores against a run on them, all of it measured here and now.

    python benchmarks/simulation.py [IMAGES]

Prints a JSON line; exits 1 where the two are more than a tenth apart. On a machine that does
something else meanwhile the figures mean nothing. The forward is the bare one of a process per
core, measured before and after the run; loading and saving are what the run's rows say of them.
"""

import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
from graph_simulator import simulate, whole_block_graph
from pictures import write_crops
from prelabel_throughput import CORES, process_per_core_rate, say
from runs import watch_prelabel

from maskmill.pipeline.models.precision import resolve_precision

BLOCK_IMAGES = 32
MOST_APART = 0.1


def predicted(bare_rates: Sequence[float], load_ms: float, save_ms: float) -> float:
    """Images per second of whole blocks on all cores."""
    stages, machines = whole_block_graph(
        cores=CORES,
        forward=CORES / statistics.mean(bare_rates),
        load=load_ms / 1000,
        save=save_ms / 1000,
    )
    return simulate(stages, machines, block_images=BLOCK_IMAGES).images_per_second


def light_costs(out: Path) -> tuple[float, float]:
    """Milliseconds of loading and of saving an image, by the middle row of a run."""
    rows = pq.read_table(out / "metadata", columns=["decode_ms", "write_ms"])
    load, save = (statistics.median(rows[name].to_pylist()) for name in rows.column_names)
    return load, save


def main(count: int = 1200) -> int:
    precision = resolve_precision("auto", "cpu")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        crops = write_crops(work / "crops", count)
        bare = [process_per_core_rate(crops, precision)]
        options = ("--engine", "ray", "--block-images", BLOCK_IMAGES)
        run = watch_prelabel(crops, work / "out", *options, block_images=BLOCK_IMAGES)
        bare.append(process_per_core_rate(crops, precision))
        load_ms, save_ms = light_costs(work / "out")
    rate = predicted(bare, load_ms, save_ms)
    apart = rate / run.steady_rate - 1
    say(
        benchmark="simulated / measured prelabel on cores",
        cores=CORES,
        precision=precision,
        images=run.images,
        bare_before=bare[0],
        bare_after=bare[1],
        load_ms=load_ms,
        save_ms=save_ms,
        simulated=rate,
        measured=run.steady_rate,
        ratio=1 + apart,
        holds=abs(apart) <= MOST_APART,
    )
    return 0 if abs(apart) <= MOST_APART else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
