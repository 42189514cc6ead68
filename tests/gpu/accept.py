"""`make gpu`: everything that only a GPU can tell, in one go of about ten minutes.

    python tests/gpu/accept.py [--quick] [--device cpu] [--weights FILE] [--photographs FOLDER]

Writes a JSON line per step to benchmarks/results/DATE-gpu.json: its seconds and its result, or why
it was skipped, or how it failed. Without a GPU every step says so; ``--device cpu`` rehearses on
the CPU what can be. It needs PyTorch, torchvision, NumPy and safetensors; what needs more (Ray,
pytest) is skipped where that is missing. Nothing is fetched: the default model has random weights
unless they are in the cache or named. Exits 1 where a step failed or did not hold.
"""

import argparse
import atexit
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from setting import ROOT, VIEW, Setting, Skipped

Step = Callable[[Setting], dict[str, Any]]


def find_package() -> None:
    """Make ``maskmill`` importable from a checkout that is not installed: a folder of links."""
    try:
        if importlib.util.find_spec("maskmill.pipeline") is not None:
            return
    except ModuleNotFoundError:
        pass
    view = Path(tempfile.mkdtemp(prefix="maskmill-view-"))
    atexit.register(shutil.rmtree, view, ignore_errors=True)
    package = view / "maskmill"
    package.mkdir()
    for path in [
        *(ROOT / "maskmill").iterdir(),
        *(ROOT / n for n in ("schemas", "pipeline", "jobs")),
    ]:
        (package / path.name).symlink_to(path)
    sys.path.insert(0, str(view))
    os.environ[VIEW] = str(view)  # for the processes that steps start


def steps() -> dict[str, Step]:
    """All of them, in their order."""
    import answers
    import rates
    import replays
    import whole_job

    return {
        "versions": answers.versions,
        "tests": answers.tests,
        "hashes": answers.hashes,
        "labels": answers.labels,
        "rates": rates.rates,
        "graphs": replays.graphs,
        "stages": rates.stages,
        "exhaustion": rates.exhaustion,
        "job": whole_job.shares,
        "kill and resume": whole_job.kill_and_resume,
    }


def done(step: Step, setting: Setting) -> dict[str, Any]:
    """What became of a step: its result, or why it was skipped, or how it failed."""
    try:
        return {"result": step(setting)}
    except Skipped as reason:
        return {"skipped": str(reason)}
    except ImportError as error:
        name = (error.name or "").partition(".")[0]
        if name in ("", "maskmill"):  # our own fault
            return {"failed": traceback.format_exc()}
        return {"skipped": f"{name} is not installed here"}
    except Exception:
        return {"failed": traceback.format_exc()}


def found_device(wanted: str | None) -> tuple[str | None, str]:
    """The device that is there, and why it is no GPU."""
    try:
        from maskmill.pipeline.models.worker_facts import cuda_trouble

        trouble = cuda_trouble()
    except ImportError as error:
        return None, f"{error.name} is not installed here"
    return (wanted, "") if wanted else (None, trouble) if trouble else ("cuda", "")


def run(setting: Setting, out: Path, only: Sequence[str]) -> bool:
    """Every step, each noted as soon as it is done; whether none failed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    fine = True
    with out.open("w", encoding="utf-8") as lines:
        for name, step in steps().items():
            if only and name not in only:
                continue
            started = time.perf_counter()
            outcome = done(step, setting)
            seconds = round(time.perf_counter() - started, 2)
            line = json.dumps({"step": name, "seconds": seconds, **outcome})
            print(line, flush=True)
            print(line, file=lines, flush=True)
            fine &= "failed" not in outcome and outcome.get("result", {}).get("holds", True)
    return fine


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few and small pictures")
    parser.add_argument("--device", choices=["cuda", "cpu"], help="cpu: a rehearsal")
    parser.add_argument("--weights", type=Path, help="of the default model")
    parser.add_argument("--photographs", type=Path, help="a folder of JPEG files")
    parser.add_argument("--images", type=int, default=8000, help="of the whole job")
    parser.add_argument("--only", action="append", default=[], help="this step; may be repeated")
    parser.add_argument("--out", type=Path, help="where the lines go")
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)  # a step's child
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    find_package()
    given = arguments(argv)
    device, trouble = found_device(given.device)
    setting = Setting(
        device=device,
        trouble=trouble,
        quick=given.quick,
        weights=given.weights,
        photographs=given.photographs,
        images=given.images,
    )
    if given.answer:
        import answers

        print(json.dumps(answers.of_child(setting)))
        return 0
    now = datetime.now(timezone.utc)
    out = given.out or ROOT / "benchmarks" / "results" / f"{now:%Y-%m-%d}-gpu.json"
    return 0 if run(setting, out, given.only) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
