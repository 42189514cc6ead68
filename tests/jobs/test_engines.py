"""Two engines, one result; and what a machine, a cluster or a folder may do to either."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.processes import descendants, is_alive
from maskmill.schemas.tables.prelabel import TIMING_COLUMNS
from tests.jobs.conftest import ROOT, command_line
from tests.sick_images import write_sick_images, write_small_pictures

SMALL = ("--model", "deeplabv3_mobilenet_v3_large", "--untrained", "--image-size", 65,
         "--block-images", 8, "--precision", "fp32")  # fmt: skip
HOSTILE = ("schemas/", "jobs/", "pipeline/", "schemas.py", "torch.py", "json.py")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """Forty pictures, ten of them sick in one way or another."""
    source = tmp_path_factory.mktemp("mixed")
    write_small_pictures(source, 30, seed=3)
    write_sick_images(source, 10, seed=4)
    return source


def prelabel(source, out, *arguments, cwd=ROOT, **environment):
    return subprocess.run(
        command_line("prelabel", source, out, *SMALL, *arguments),
        cwd=cwd, capture_output=True, text=True, timeout=250, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


def promised(out: Path) -> dict[str, object]:
    """What no engine may change: masks and COCO by the byte, rows but for their history."""
    masks = {str(path.relative_to(out)): path.read_bytes() for path in (out / "masks").rglob("*.*")}
    rows = pq.read_table(out / "metadata").sort_by("image_id")
    return {
        **masks,
        "coco": (out / "annotations.json").read_bytes(),
        "rows": rows.drop_columns(list(TIMING_COLUMNS)).to_pylist(),
        "identity": json.loads((out / "run.json").read_text())["identity"],
    }


@pytest.mark.slow
def test_the_same_pictures_by_either_engine_are_the_same_run(mixed, tmp_path):
    outs = {}
    for engine in ("local", "ray"):
        outs[engine] = tmp_path / engine
        ended = prelabel(mixed, outs[engine], "--engine", engine)
        assert ended.returncode == 3, ended.stderr
    assert promised(outs["local"]) == promised(outs["ray"])


@pytest.mark.slow
@pytest.mark.parametrize("engines", [("local", "ray"), ("ray", "local")], ids="-".join)
def test_begun_by_one_killed_and_finished_by_the_other(mixed, tmp_path, engines):
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert prelabel(mixed, calm, "--engine", "local").returncode == 3
    driver = subprocess.Popen(
        command_line("prelabel", mixed, killed, *SMALL, "--engine", engines[0]),
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(lambda: list((killed / "metadata").glob("block-*")), driver)
    driver.kill()
    driver.wait()
    ended = prelabel(mixed, killed, "--engine", engines[1])
    assert ended.returncode == 3, ended.stderr
    assert promised(killed) == promised(calm)


def wait_for(condition, driver, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition() and driver.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.slow
def test_an_out_with_every_odd_sign_in_its_name_is_labelled_by_both(tmp_path):
    """A `?` once made Ray's reader find nothing, and the run called itself finished."""
    source = tmp_path / "in? #%41*[a] ü"
    write_small_pictures(source, 2, seed=1)
    for engine in ("local", "ray"):
        out = tmp_path / f"out? #%41*[a] {engine}"
        ended = prelabel(source, out, "--engine", engine, "--json")
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["ledger"]["ok"] == 2
        assert len(list((out / "masks").rglob("*.png"))) == 2


def write_hostile(folder: Path, name: str) -> None:
    file = folder / name / "__init__.py" if name.endswith("/") else folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("raise SystemExit('a file of the user was imported: ' + __file__)\n")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_nothing_of_the_users_folder_reaches_any_process(tmp_path, engine):
    """All six at once, in the working folder and on PYTHONPATH; each alone is for our own start."""
    write_small_pictures(tmp_path / "in", 2, seed=1)
    for name in HOSTILE:
        write_hostile(tmp_path / "work", name)
        write_hostile(tmp_path / "path", name)
    ended = prelabel(
        "../in", "../out", "--engine", engine, cwd=tmp_path / "work",
        PYTHONPATH=str(tmp_path / "path"),
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert len(list((tmp_path / "out/masks").rglob("*.png"))) == 2
    assert not list((tmp_path / "work").rglob("__pycache__"))


@pytest.mark.slow
def test_ray_of_our_own_is_our_own_whatever_ray_address_says(tmp_path):
    write_small_pictures(tmp_path / "in", 2, seed=1)
    ended = prelabel(
        tmp_path / "in", tmp_path / "out", "--engine", "ray", RAY_ADDRESS="127.0.0.1:9"
    )
    assert ended.returncode == 0, ended.stderr
    assert "--address auto" in ended.stderr and "RAY_ADDRESS" in ended.stderr


@pytest.fixture
def running(tmp_path):
    """A run by Ray in the middle of its work, in a session of its own."""
    write_small_pictures(tmp_path / "in", 600, seed=1)
    driver = subprocess.Popen(
        command_line("prelabel", tmp_path / "in", tmp_path / "out", *SMALL, "--engine", "ray"),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: list((tmp_path / "out/metadata").glob("block-*")), driver)
    assert driver.poll() is None
    yield driver, tmp_path / "out"
    driver.kill()
    driver.wait()


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["raylet", "gcs_server"])
def test_a_cluster_that_dies_ends_with_a_sentence_and_its_logs(running, victim):
    driver, out = running
    tree = descendants(driver.pid)
    (pid,) = [pid for pid, name in tree.items() if Path(name.split()[0]).name == victim]
    os.kill(pid, signal.SIGKILL)
    started = time.monotonic()
    _, errors = driver.communicate(timeout=60)
    assert time.monotonic() - started < 15
    assert driver.returncode == 1
    assert "has ended" in errors and "what is committed stays" in errors and "logs" in errors
    assert "Traceback" not in errors
    assert json.loads((out / "run.json").read_text())["state"] == "running"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_run_by_ray_with_a_sentence_and_no_process_left(running, number, code):
    driver, _ = running
    tree = [pid for pid in descendants(driver.pid) if pid != driver.pid]
    driver.send_signal(number)
    started = time.monotonic()
    _, errors = driver.communicate(timeout=60)
    left = [pid for pid in tree if is_alive(pid)]
    while left and time.monotonic() - started < 5:
        time.sleep(0.1)
        left = [pid for pid in left if is_alive(pid)]
    assert driver.returncode == code
    assert "stopped by SIG" in errors and "Traceback" not in errors
    assert left == []


def test_another_kind_of_run_is_refused_by_its_name(tmp_path):
    from tests.jobs.convert_in_process import convert_in_process, write_voc

    write_voc(tmp_path / "voc", 2)
    out = tmp_path / "out"
    assert convert_in_process(tmp_path / "voc", out, "--from", "voc", "--to", "coco").exit_code == 0
    write_small_pictures(tmp_path / "in", 1, seed=1)
    ended = prelabel(tmp_path / "in", out, "--engine", "local")
    assert ended.returncode == 2
    assert "another kind of run, of `maskmill convert`" in ended.stderr
    done = prelabel(tmp_path / "in", tmp_path / "labels", "--engine", "local")
    assert done.returncode == 0, done.stderr
    other = convert_in_process(
        tmp_path / "voc", tmp_path / "labels", "--from", "voc", "--to", "coco"
    )
    assert other.exit_code == 2 and "of `maskmill prelabel`" in other.stderr
    cutout = subprocess.run(
        [sys.executable, "-m", "maskmill", "cutout", tmp_path / "in", tmp_path / "labels"],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert cutout.returncode == 2 and "of `maskmill prelabel`" in cutout.stderr


@pytest.mark.slow
def test_what_is_written_beside_the_masks_can_be_asked_for_later(tmp_path):
    """Overlays of a finished run are added, and nothing else changes."""
    write_small_pictures(tmp_path / "in", 3, seed=1)
    out = tmp_path / "out"
    assert prelabel(tmp_path / "in", out, "--engine", "local").returncode == 0
    before = {path: path.read_bytes() for path in (out / "masks").rglob("*.png")}
    again = prelabel(tmp_path / "in", out, "--write", "masks,overlays", "--engine", "local")
    assert again.returncode == 0, again.stderr
    assert len(list((out / "overlays").rglob("*.jpg"))) == len(before) == 3
    assert {path: path.read_bytes() for path in (out / "masks").rglob("*.png")} == before
    third = prelabel(tmp_path / "in", out, "--engine", "local", "--json")
    assert json.loads(third.stdout)["done_now"] == 0
    rows = pq.read_table(out / "metadata").to_pylist()
    assert [[file["name"] for file in row["files"]] for row in rows] == [["overlays"]] * 3
