"""Steps about what comes out: versions, tests, one hash for one picture, labels by precision."""

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from setting import PHOTOGRAPHS, ROOT, Setting, Skipped, child_paths, hash_of, in_another_process

LEAST = {"fp32": 0.9995, "fp16": 0.995, "bf16": 0.99}
"""Share of pixels with the label that fp32 gives on the CPU, on average."""

ROOM = 1.25
"""Under memory pressure so many times what the network took at its peak stays free."""


def versions(setting: Setting) -> dict[str, Any]:
    """Of everything that decides what the figures are of."""
    names = ("torch", "torchvision", "numpy", "ray", "timm", "pyarrow", "safetensors")
    found = {name: _version(name) for name in names}
    machine = {"python": platform.python_version(), "cores": len(os.sched_getaffinity(0))}
    facts: dict[str, Any] = {**machine, **found, "device": setting.device}
    if not setting.is_gpu:
        return {**facts, "trouble": setting.trouble}
    import torch

    from maskmill.pipeline.models.worker_facts import gpu_title

    return {
        **facts,
        "gpu": gpu_title(),
        "gpus": torch.cuda.device_count(),
        "memory": torch.cuda.get_device_properties(0).total_memory,
        "driver": _driver(),
        "weights": "trained" if setting.weights_path() else "random",
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def tests(setting: Setting) -> dict[str, Any]:
    """The GPU tests, by pytest."""
    setting.needs_gpu("the tests that are marked for one")
    if importlib.util.find_spec("pytest") is None:
        raise Skipped("pytest is not installed here")
    setting.needs_gpu_elsewhere()
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "--noconftest", "gpu"]
    done = subprocess.run(  # from the root, python -m would take its maskmill/, which lacks parts
        command, cwd=ROOT / "tests", capture_output=True, text=True, check=False, env=child_paths()
    )
    return {"holds": done.returncode == 0, "output": done.stdout[-1500:]}


def hashes(setting: Setting) -> dict[str, Any]:
    """Logits of the same pictures: again, in other slots, under memory pressure, by a process."""
    device = setting.needs_device()
    found = {precision: _hashes(setting, precision) for precision in setting.precisions}
    options = ["--quick"] if setting.quick else []
    options += ["--weights", str(setting.weights)] if setting.weights else []
    for precision, said in in_another_process("--answer", "--device", device, *options).items():
        found[precision]["another process"] = said
    return {"holds": all(len(set(cases.values())) == 1 for cases in found.values()), **found}


def _hashes(setting: Setting, precision: str) -> dict[str, str]:
    group = _group(setting)
    segmenter = setting.segmenter(precision, group)
    pictures = setting.made_up_pictures(group)
    found = {f"replay {number}": hash_of(segmenter.forward(pictures)) for number in range(3)}
    for turn in range(1, group):
        answers = segmenter.forward(pictures[turn:] + pictures[:turn])
        found[f"slots turned by {turn}"] = hash_of(answers[-turn:] + answers[:-turn])
    found["each alone"] = hash_of([segmenter.forward([one])[0] for one in pictures])
    if setting.is_gpu:
        with _memory_pressure():
            answers = segmenter.forward(pictures)
        if not any(answer.halved for answer in answers):  # halved is outside the guarantee
            found["memory pressure"] = hash_of(answers)
    return found


def of_child(setting: Setting) -> dict[str, str]:
    """What another process says to the same pictures, by precision."""
    group = _group(setting)
    return {
        precision: hash_of(
            setting.segmenter(precision, group).forward(setting.made_up_pictures(group))
        )
        for precision in setting.precisions
    }


def _group(setting: Setting) -> int:
    return 3 if setting.quick else 8


@contextmanager
def _memory_pressure() -> Iterator[None]:
    """Little more free memory than the network takes: cuDNN then has less room to work in."""
    import torch

    needed = int(torch.cuda.max_memory_allocated() * ROOM)
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    ballast = torch.empty(max(0, free - needed), dtype=torch.uint8, device="cuda")
    try:
        yield
    finally:
        del ballast
        torch.cuda.empty_cache()


def labels(setting: Setting) -> dict[str, Any]:
    """Masks of photographs at each precision, against those of fp32 on the CPU."""
    setting.needs_device()
    if setting.weights_path() is None:
        raise Skipped("random weights say nothing of labels: name the model's with --weights")
    count = 4 if setting.quick else PHOTOGRAPHS
    with setting.photograph_folder(count) as folder:
        photographs = _opened(sorted(folder.rglob("*.jpg"))[:count])
    expected = _masks(setting, photographs, "fp32", "cpu")
    found: dict[str, Any] = {"photographs": len(photographs)}
    for precision in setting.precisions:
        masks = _masks(setting, photographs, precision, setting.needs_device())
        shares = [float((a == b).mean()) for a, b in zip(masks, expected, strict=True)]
        mean, worst = sum(shares) / len(shares), min(shares)
        found[precision] = {"mean": round(mean, 5), "worst": round(worst, 5)}
    kept = all(found[one]["mean"] >= LEAST[one] for one in setting.precisions)
    return {"holds": kept or setting.quick, **found}  # small pictures are labelled otherwise


def _opened(paths: list[Any]) -> list[Any]:
    from maskmill.pipeline.pictures.decoding import decode_image

    return [decode_image(p.read_bytes(), name=p.name, max_pixels=1 << 27).pixels for p in paths]


def _masks(setting: Setting, photographs: list[Any], precision: str, device: str) -> list[Any]:
    from maskmill.pipeline.labelling.picture import label_picture
    from maskmill.pipeline.views.geometry import GridView
    from maskmill.pipeline.views.plan import ViewSettings, plan_views
    from maskmill.pipeline.views.preparation import prepare

    segmenter = setting.segmenter(precision, 1 if device == "cpu" else 8, device)
    size = 129 if setting.quick else None
    rule = segmenter.spec.preprocessing
    answers = segmenter.forward([prepare(one, rule, image_size=size) for one in photographs])
    masks = []
    for photograph, answer in zip(photographs, answers, strict=True):
        size_hw = photograph.shape[:2]
        views = (GridView(answer.logits, answer.rows, answer.cols),)
        masks.append(label_picture(views, plan_views(size_hw, ViewSettings()), size_hw).mask)
    return masks
