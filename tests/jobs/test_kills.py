"""Exactly once, shown by really killing: SIGKILL to workers, driver and both, at random moments."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.processes import descendants, wait_until_gone
from maskmill.schemas.tables.prelabel import TIMING_COLUMNS
from tests.sick_images import write_sick_images, write_small_pictures

NUM_GOOD, NUM_SICK = 1900, 100
KILLS = 10
SETTINGS = ("--image-size", 65, "--block-images", 16)


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> Path:
    source = tmp_path_factory.mktemp("collection")
    write_small_pictures(source, NUM_GOOD, seed=11)
    write_sick_images(source, NUM_SICK, seed=12)
    return source


def committed(out: Path) -> int:
    folder = out / "metadata"
    return len(list(folder.glob("block-*.parquet"))) if folder.is_dir() else 0


def files_of(out: Path) -> dict[str, bytes]:
    """Everything a run promises byte for byte."""
    masks = {str(path.relative_to(out)): path.read_bytes() for path in (out / "masks").rglob("*.*")}
    return {**masks, "annotations.json": (out / "annotations.json").read_bytes()}


def rows_of(out: Path) -> list[dict]:
    table = pq.read_table(out / "metadata").sort_by("image_id")
    return table.drop_columns(list(TIMING_COLUMNS)).to_pylist()


def start(collection: Path, out: Path, engine: str) -> subprocess.Popen:
    from tests.jobs.conftest import ROOT, command_line

    return subprocess.Popen(
        command_line("prelabel", collection, out, *SETTINGS, "--engine", engine),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill(driver: subprocess.Popen, kind: str, rng: random.Random) -> bool:
    """SIGKILL a random worker, the driver, or both; whether anything was there to kill."""
    tree = descendants(driver.pid)
    workers = [pid for pid, name in tree.items() if name.startswith("ray::Map")]
    if kind in ("worker", "both"):
        if not workers:
            return False
        os.kill(rng.choice(workers), signal.SIGKILL)
    if kind in ("driver", "both"):
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        at_work = {pid: name for pid, name in tree.items() if name.startswith("ray::Map")}
        assert wait_until_gone(at_work, seconds=30), "a killed run left workers behind"
    return True


@pytest.fixture(scope="module")
def calm(collection, tmp_path_factory, run_module_maskmill) -> Path:
    """An undisturbed run, by the local engine."""
    out = tmp_path_factory.mktemp("calm") / "out"
    local = ("--engine", "local")
    result = run_module_maskmill("prelabel", collection, out, *SETTINGS, *local, timeout=600)
    assert result.returncode == 3, result.stderr
    return out


def kinds_of(engine: str) -> list[str]:
    """Whom each kill hits; the local engine is its driver."""
    mixed = ["worker", "driver", "both", "worker", "worker", "driver", "worker", "both"]
    return [*mixed, "worker", "driver"] if engine == "ray" else ["driver"] * KILLS


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "engines", [("local", "local"), ("ray", "ray"), ("local", "ray")], ids="-".join
)
def test_a_run_killed_again_and_again_ends_as_an_undisturbed_one(
    collection, calm, tmp_path, maskmill, engines
) -> None:
    """On either engine, and begun by one, killed, finished by the other."""
    stormy = tmp_path / "stormy"
    rng = random.Random(7)
    blocks = committed(calm)
    kills = KILLS if engines[0] == engines[1] else 2
    thresholds = sorted(rng.sample(range(1, blocks - 12), kills))
    done, driver = 0, start(collection, stormy, engines[0])
    deadline = time.monotonic() + 800
    while driver.poll() is None or done < kills:
        assert time.monotonic() < deadline, f"{done} kills, {committed(stormy)} of {blocks} blocks"
        if done < kills and committed(stormy) >= thresholds[done] and driver.poll() is None:
            time.sleep(rng.uniform(0, 0.5))
            assert committed(stormy) < blocks, "the run ended before all kills were dealt"
            done += kill(driver, kinds_of(engines[0])[done], rng)
        if driver.poll() is not None:
            if committed(stormy) == blocks and done == kills:
                break
            driver = start(collection, stormy, engines[0] if done < kills else engines[1])
        time.sleep(0.02)
    assert driver.wait() == 3
    assert done == kills

    assert files_of(stormy) == files_of(calm)
    assert rows_of(stormy) == rows_of(calm)
    statuses = [row["status"] for row in rows_of(stormy)]
    assert (statuses.count("ok"), statuses.count("failed")) == (NUM_GOOD, NUM_SICK)
    assert not any(row["error_code"] == "worker_died" for row in rows_of(stormy))
    verified = maskmill("verify", stormy, "--inputs")
    assert verified.returncode == 0, verified.stdout
