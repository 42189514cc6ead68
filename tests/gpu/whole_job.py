"""Steps with Ray: the whole job at one and half a GPU per worker, and killed and continued."""

import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from setting import ROOT, VIEW, Setting, Skipped, child_paths

KILLS = 2
LONGEST = 400
"""Seconds after which a job is taken to hang."""


def shares(setting: Setting) -> dict[str, Any]:
    """Images/s at each share of a GPU, how busy the GPU was, and whether the masks are the same."""
    with _work(setting) as (work, source):
        found = {}
        for share in (1, 0.5) if setting.is_gpu else (0,):
            with _utilisation(setting) as busy:
                found[f"{share} per worker"] = _job(setting, source, work / f"{share}", share)
            found[f"{share} per worker"]["gpu_busy_percent"] = busy["percent"]
    same = len({one["masks"] for one in found.values()}) == 1
    return {"holds": same, **found}


def kill_and_resume(setting: Setting) -> dict[str, Any]:
    """A run that is killed twice ends with the masks of an undisturbed one."""
    with _work(setting) as (work, source):
        share = 1 if setting.is_gpu else 0
        undisturbed = _job(setting, source, work / "undisturbed", share)
        out, kills = work / "killed", 0
        while kills < KILLS and _killed(setting, source, out, share, after=kills + 1):
            kills += 1
        resumed = _job(setting, source, out, share)
    same = undisturbed["masks"] == resumed["masks"]
    return {"holds": same, "kills": kills, "masks": resumed["masks"]}


@contextmanager
def _work(setting: Setting) -> Iterator[tuple[Path, Path]]:
    """A folder to work in, and the source: links to few photographs, many times."""
    setting.needs_device()
    for name in ("ray", "click", "pyarrow"):
        importlib.import_module(name)
    if VIEW in os.environ:  # a cluster's processes do not follow PYTHONPATH
        raise Skipped("maskmill is not installed here: pip install --no-deps --editable . before")
    setting.needs_gpu_elsewhere()
    count = 12 if setting.quick else setting.images
    with tempfile.TemporaryDirectory() as folder, setting.photograph_folder(32) as photographs:
        work, found = Path(folder), sorted(photographs.rglob("*.jpg"))
        if not found:
            raise Skipped(f"no JPEG files in {photographs}")
        source = work / "source"
        source.mkdir()
        for number in range(count):
            os.link(found[number % len(found)], source / f"{number:06}.jpg")
        yield work, source


def _command(setting: Setting, source: Path, out: Path, share: float) -> list[str]:
    weights = setting.weights_path()
    model = ["--weights", str(weights)] if setting.weights else []
    small = ["--image-size", "65", "--block-images", "4"] if setting.quick else []
    return [
        *(sys.executable, "-m", "maskmill", "prelabel", str(source), str(out), "--engine", "ray"),
        *("--gpus-per-worker", str(share), *model, *small),
        *([] if weights else ["--untrained"]),
    ]


def _job(setting: Setting, source: Path, out: Path, share: float) -> dict[str, Any]:
    """The run to its end: its rate as run.json has it, and one hash over its masks."""
    started = time.perf_counter()
    done = subprocess.run(
        _command(setting, source, out, share),
        cwd=ROOT,
        env=child_paths(),
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"prelabel ended with {done.returncode}: {done.stderr[-2000:]}")
    record = json.loads((out / "run.json").read_text())
    sessions = record["sessions"]  # none where all was done by runs that were killed
    digest = hashlib.sha256()
    for path in sorted((out / "masks").rglob("*.png")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "images_per_second": sessions[-1]["images_per_second"] if sessions else None,
        "masks": digest.hexdigest()[:16],
    }


def _killed(setting: Setting, source: Path, out: Path, share: float, after: int) -> bool:
    """Start the run and kill it once so many blocks more are committed; False if it was sooner."""
    before = _committed(out)
    process = subprocess.Popen(
        _command(setting, source, out, share),
        cwd=ROOT,
        env=child_paths(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + LONGEST
    while process.poll() is None and time.monotonic() < deadline:
        if _committed(out) >= before + after:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.05)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        raise RuntimeError(f"nothing was committed in {LONGEST} s")
    return False


def _committed(out: Path) -> int:
    return len(list((out / "metadata").glob("*.parquet")))


@contextmanager
def _utilisation(setting: Setting) -> Iterator[dict[str, float | None]]:
    """How busy the GPU says it was, on average over the block; None where it cannot be asked."""
    found: dict[str, float | None] = {"percent": None}
    stop, looks = threading.Event(), []

    def look() -> None:
        while not stop.wait(1.0):
            percent = _busy_percent()
            if percent is not None:
                looks.append(percent)

    watcher = threading.Thread(target=look, daemon=True)
    if setting.is_gpu:
        watcher.start()
    try:
        yield found
    finally:
        stop.set()
        found["percent"] = round(sum(looks) / len(looks), 1) if looks else None


def _busy_percent() -> float | None:
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return float(done.stdout.splitlines()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
