"""`finetune` on Ray Train: the same weights as in this process, and workers that may die."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.processes import descendants
from tests.jobs.conftest import ROOT, command_line, run_to_the_end
from tests.made_set import write_made_set

EPOCHS = 8
OPTIONS = (
    "--model", "deeplabv3_mobilenetv2_x05_voc", "--untrained", "--image-size", "65",
    "--crop-size", "65", "--batch-size", "2", "--precision", "fp32", "--threads", "1",
    "--validation-share", "0.3", "--epochs", EPOCHS,
)  # fmt: skip
STEADY = ("--optimizer", "sgd", "--learning-rate", "0.002")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_made_set(tmp_path_factory.mktemp("data") / "made", 10)


def finetune(data: Path, out: Path, *options: object) -> None:
    arguments = ("finetune", data, out, *OPTIONS, *options)
    result = run_to_the_end(*arguments, timeout=900)
    assert result.returncode == 0, result.stderr


def started(data: Path, out: Path, *options: object) -> subprocess.Popen:
    return subprocess.Popen(
        command_line("finetune", data, out, *OPTIONS, *options),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def local(data, tmp_path_factory) -> Path:
    """One worker in a process of its own."""
    out = tmp_path_factory.mktemp("local") / "out"
    finetune(data, out, "--engine", "local")
    return out


def losses_of(out: Path) -> list[tuple[int, float]]:
    """(step, loss) of every row, in the order of the files' names."""
    files = sorted((out / "rows" / "steps").glob("*.parquet"))
    return [(row["step"], row["loss"]) for path in files for row in pq.read_table(path).to_pylist()]


def weights_of(out: Path) -> bytes:
    return (out / "model" / "weights.safetensors").read_bytes()


def await_steps(out: Path, driver: subprocess.Popen, files: int) -> None:
    """Until so many files of steps are there, which is while training is under way."""
    while len(list((out / "rows" / "steps").glob("*.parquet"))) < files:
        assert driver.poll() is None, driver.stderr.read()
        time.sleep(0.05)


def test_one_worker_on_ray_ends_with_the_bits_of_one_in_this_process(data, local, tmp_path) -> None:
    finetune(data, tmp_path / "out", "--engine", "ray")
    assert losses_of(tmp_path / "out") == losses_of(local)
    assert weights_of(tmp_path / "out") == weights_of(local)
    assert not (tmp_path / "out" / "work" / "ray").exists()


def test_begun_here_and_killed_it_is_ended_by_ray_with_the_same_bits(data, local, tmp_path) -> None:
    out = tmp_path / "out"
    driver = started(data, out, "--engine", "local")
    await_steps(out, driver, 2)
    driver.kill()
    driver.communicate()
    assert len(losses_of(out)) < len(losses_of(local)), "it ended before it was killed"
    finetune(data, out, "--engine", "ray")
    assert losses_of(out) == losses_of(local)
    assert weights_of(out) == weights_of(local)


def test_two_workers_have_the_losses_of_one_though_a_worker_is_killed(data, tmp_path) -> None:
    """By small steps: what float32 rounds grows with each of them, as everywhere in training."""
    out, local = tmp_path / "out", tmp_path / "local"
    finetune(data, local, "--engine", "local", *STEADY)
    driver = started(data, out, "--workers", 2, *STEADY)
    await_steps(out, driver, 2)
    workers = [pid for pid in descendants(driver.pid) if "RayTrainWorker" in title_of(pid)]
    assert len(workers) == 2
    os.kill(workers[-1], signal.SIGKILL)
    done = len(losses_of(out))
    _, said = driver.communicate(timeout=900)
    assert driver.returncode == 0, said
    assert done < len(losses_of(local)), "it ended before a worker was killed"
    assert [step for step, _ in losses_of(out)] == [step for step, _ in losses_of(local)]
    wanted = [loss for _, loss in losses_of(local)]
    assert [loss for _, loss in losses_of(out)] == pytest.approx(wanted, abs=1e-3)
    assert json.loads((out / "run.json").read_text())["state"] == "finished"
    assert run_to_the_end("verify", out).returncode == 0


def title_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_a_loss_that_is_no_number_on_ray_ends_with_the_sentence_and_no_retry(
    data, tmp_path
) -> None:
    options = ("--learning-rate", "1e30", "--optimizer", "sgd", "--clip", 0, "--workers", 2)
    result = run_to_the_end("finetune", data, tmp_path / "out", *OPTIONS, *options, timeout=900)
    assert result.returncode == 1 and "training stops here" in result.stderr, result.stderr
