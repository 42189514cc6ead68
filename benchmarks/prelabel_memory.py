"""Peak memory of `prelabel` at 500 and at 5,000 images, by each engine: it must not grow.

    python benchmarks/prelabel_memory.py [FEW MANY [OPTION OF PRELABEL …]]

Sizes are summed proportional set sizes (PSS) of the command and every process below it, without
the object store's shared memory; the driver's own is given beside it.
"""

import json
import sys
import tempfile
from pathlib import Path

from pictures import write_crops
from runs import WatchedRun, watch_prelabel


def main(few: int = 500, many: int = 5000, *options: str) -> None:
    engines = [] if "--engine" in options else [("--engine", name) for name in ("local", "ray")]
    for engine in engines or [()]:
        measure(few, many, *options, *engine)


def measure(few: int, many: int, *options: str) -> None:
    """Print one JSON line: peaks of both runs, and their ratios."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        runs: dict[int, WatchedRun] = {}
        for count in (few, many):
            runs[count] = watch_prelabel(
                write_crops(work / f"{count}", count), work / f"out{count}", *options, memory=True
            )
        print(
            json.dumps(
                {
                    "benchmark": f"peak memory at {many} / {few} images",
                    "options": list(options),
                    "peak_mib": {
                        count: round(run.peak_bytes / 2**20) for count, run in runs.items()
                    },
                    "driver_mib": {
                        count: round(run.driver_peak_bytes / 2**20) for count, run in runs.items()
                    },
                    "ratio": round(runs[many].peak_bytes / runs[few].peak_bytes, 4),
                    "driver_ratio": round(
                        runs[many].driver_peak_bytes / runs[few].driver_peak_bytes, 4
                    ),
                }
            )
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]), *sys.argv[3:])
