"""The script for the first GPU runs to its end on any machine, and says why it left out what."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.gpu.fake_device import fake_device, smaller_than
from tests.pipeline.models.fake_cuda import FakeGpu, fake_cuda

SCRIPT = Path(__file__).with_name("accept.py")
STEPS = [
    "versions", "tests", "hashes", "labels", "rates", "graphs", "stages", "exhaustion", "job",
    "kill and resume",
]  # fmt: skip
NEEDLESS = (
    "ray", "tflite", "pycocotools", "timm", "pytest", "av", "pillow_heif", "obstore", "zlib_ng",
    "defusedxml", "ijson", "botocore", "boto3", "duckdb", "starlette", "uvicorn", "imgviz",
)  # fmt: skip


def accept(
    tmp_path: Path, *options: str, hidden: tuple[str, ...] = (), expected: int = 0
) -> list[dict]:
    """The script's lines; ``hidden`` packages cannot be imported, in its children either."""
    for name in hidden:
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('hidden', name='{name}')")
    done = subprocess.run(
        [sys.executable, SCRIPT, "--quick", "--out", tmp_path / "gpu.json", *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == expected, done.stderr
    lines = (tmp_path / "gpu.json").read_text()
    assert lines == done.stdout
    return [json.loads(line) for line in lines.splitlines()]


def test_without_a_gpu_every_step_says_why_it_was_skipped(tmp_path):
    versions, *others = accept(tmp_path)
    assert [versions["step"], *(one["step"] for one in others)] == STEPS
    assert versions["result"]["device"] is None
    assert all(one["skipped"].startswith("no GPU that can be used: ") for one in others)


@pytest.mark.slow
def test_a_rehearsal_on_the_cpu_needs_none_of_what_a_bare_machine_lacks(tmp_path):
    lines = accept(tmp_path, "--device", "cpu", hidden=NEEDLESS)
    found = {one["step"]: one for one in lines}
    assert list(found) == STEPS
    assert not [one for one in lines if "failed" in one]
    for precision in ("fp32", "bf16"):
        cases = found["hashes"]["result"][precision]
        assert {"replay 2", "slots turned by 2", "each alone", "another process"} < set(cases)
        assert len(set(cases.values())) == 1
    assert found["rates"]["result"]["as the worker"]["2"]["images_per_second"] > 0
    assert set(found["stages"]["result"]) >= {"prepare", "upload and normalise", "label"}
    assert "needs a GPU" in found["exhaustion"]["skipped"]
    assert "needs a GPU" in found["graphs"]["skipped"]
    assert found["job"]["skipped"] == "ray is not installed here"


def test_a_step_that_fails_is_told_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    script = importlib.import_module("accept")
    steps = {"broken": lambda _: 1 // 0, "untrue": lambda _: {"holds": False}, "good": lambda _: {}}
    setting = script.Setting(device="cpu")
    for names, fine in ((["good"], True), (["untrue"], False), (["broken", "good"], False)):
        monkeypatch.setattr(script, "steps", lambda names=names: {n: steps[n] for n in names})
        assert script.run(setting, tmp_path / "gpu.json", ()) is fine
    broken, good = map(json.loads, capsys.readouterr().out.splitlines()[-2:])
    assert "ZeroDivisionError" in broken["failed"]
    assert good["result"] == {}


@pytest.mark.slow
def test_the_steps_of_a_gpu_run_on_one_that_computes_nothing(tmp_path, monkeypatch, capsys):
    """Every step, or its reason: no other process has such a GPU, nor does it label."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    script, rates = (importlib.import_module(name) for name in ("accept", "rates"))
    answers = importlib.import_module("answers")
    setting = script.Setting(device="cuda", quick=True)
    monkeypatch.setattr(rates, "GROUPS", (1, 2))
    monkeypatch.setenv("MASKMILL_CACHE", str(tmp_path))  # files of weights are for real devices
    monkeypatch.setattr(
        answers, "in_another_process", lambda *_: answers.of_child(setting)
    )  # a child would have no GPU
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with fake_device() as gpu:
        monkeypatch.setattr(torch.nn.Conv2d, "forward", smaller_than(gpu, 16).forward)
        assert script.run(setting, tmp_path / "gpu.json", ())
    found = {one["step"]: one for one in map(json.loads, capsys.readouterr().out.splitlines())}
    skipped = {name: one["skipped"] for name, one in found.items() if "skipped" in one}
    assert list(found) == STEPS
    assert set(skipped) == {"tests", "labels", "job", "kill and resume"}
    assert "random weights say nothing of labels" in skipped.pop("labels")
    assert all("that other processes see, too" in reason for reason in skipped.values())
    assert found["versions"]["result"]["gpu"].startswith("Some GPU, 7 multiprocessors")
    for precision in ("fp32", "fp16", "bf16"):
        cases = found["hashes"]["result"][precision]
        assert {"memory pressure", "another process", "each alone"} < set(cases)
    kinds = found["rates"]["result"]
    assert {"as the worker", "autocast fp16", "half, graph"} < set(kinds)
    failed = {kind: groups for kind, groups in kinds.items() if "failed" in str(groups)}
    assert failed == {}
    assert gpu.replays > 0
    replayed = found["graphs"]["result"]
    assert replayed.pop("holds")
    assert list(replayed) == [
        "default, auto, 1",
        "default, auto, 2",
        "default, fp32, 1",
        "default, fp32, 2",
    ]
    for one in replayed.values():
        assert (one["equal"], one["left_out"]) == (True, None)
        assert one["called_ms"] > 0 and one["replayed_ms"] > 0
    assert found["exhaustion"]["result"] == {
        "holds": True, "halved": 64, "failed": 0, "same_afterwards": True,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gpu", "left_out"),
    [
        (FakeGpu(same_bits=False), "a replay said something else than the network itself"),
        (FakeGpu(graph_failure=torch.OutOfMemoryError("CUDA out of memory")), "CUDA out of memory"),
    ],
)
def test_what_is_not_replayed_is_told_with_its_reason(tmp_path, monkeypatch, gpu, left_out):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    script, replays = (importlib.import_module(name) for name in ("accept", "replays"))
    monkeypatch.setattr(replays, "GROUPS", (2,))
    monkeypatch.setenv("MASKMILL_CACHE", str(tmp_path))
    setting = script.Setting(device="cuda", quick=True)
    with fake_cuda(gpu):
        found = replays.graphs(setting)
    assert found.pop("holds")
    assert {one["left_out"] for one in found.values()} == {left_out}


@pytest.mark.slow
def test_a_replay_that_says_something_else_fails_the_step(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    script, replays = (importlib.import_module(name) for name in ("accept", "replays"))
    monkeypatch.setattr(replays, "GROUPS", (2,))
    monkeypatch.setenv("MASKMILL_CACHE", str(tmp_path))
    said = iter(range(100))
    monkeypatch.setattr(replays, "hash_of", lambda _: next(said))
    with fake_cuda():
        assert not replays.graphs(script.Setting(device="cuda", quick=True))["holds"]


@pytest.mark.slow
def test_the_whole_job_is_rehearsed_too(tmp_path):
    job, killed = accept(tmp_path, "--device", "cpu", "--only", "job", "--only", "kill and resume")
    assert job["result"]["0 per worker"]["images_per_second"] > 0
    assert killed["result"]["holds"]
    assert killed["result"]["masks"] == job["result"]["0 per worker"]["masks"]
