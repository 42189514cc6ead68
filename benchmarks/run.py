"""`make bench`: every benchmark, one JSON line per figure; also kept in benchmarks/results/.

python benchmarks/run.py [NAME …]
"""

import json
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
BENCHMARKS = {
    "engines": ["engines.py"],
    "crossing": ["crossing.py"],
    "throughput": ["prelabel_throughput.py"],
    "memory": ["prelabel_memory.py"],
    "large_picture": ["large_picture.py"],
    "large_photographs": ["large_photographs.py"],
    "photograph_stages": ["photograph_stages.py"],
    "upsampling": ["upsampling.py"],
    "min_confidence": ["min_confidence.py"],
    "seams": ["seams.py"],
    "half_grids": ["half_grids.py"],
    "mask_codecs": ["mask_codecs.py"],
    "conversion": ["conversion.py"],
    "conversion_memory": ["conversion.py", "--memory", "500", "5000"],
    "audit_counting": ["audit_counting.py", "--sizes", "500x375", "2000x1000", "4000x3000"],
    "audit_memory": ["audit_counting.py", "--memory", "500", "5000"],
    "finetune": ["finetune.py"],
    "select_gain": ["select_gain.py"],
    "training_step": ["training_step.py"],
    "scale": ["graph_simulator.py"],
    "simulation": ["simulation.py"],
    "many_rows": ["many_rows.py"],
    "duplicates": ["duplicates.py"],
    "try_frames": ["try_frames.py"],
}


def device() -> dict[str, object]:
    """What the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0].partition(":")[2].strip() if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def run(name: str) -> list[dict[str, object]]:
    """The figures of one benchmark, echoed as they come."""
    figures = []
    script, *arguments = BENCHMARKS[name]
    process = subprocess.Popen(
        [sys.executable, str(FOLDER / script), *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        if line.startswith("{"):
            figures.append(json.loads(line))
    if process.wait():
        raise SystemExit(f"{script} ended with {process.returncode}")
    return figures


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all, and keep what they measured."""
    now = datetime.now(timezone.utc)
    for name in names or BENCHMARKS:
        document = {
            "date": now.isoformat(timespec="minutes"),
            "device": device(),
            "figures": run(name),
        }
        path = FOLDER / "results" / f"{now:%Y-%m-%d}-{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
