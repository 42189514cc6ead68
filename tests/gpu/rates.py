"""Steps about speed and memory: groups of 1 to 64, each stage of a picture, and too little room."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from setting import Setting, hash_of

GROUPS = (1, 2, 4, 8, 16, 32, 64)
SECONDS = 1.0
"""How long each figure is measured; a quick run takes one round."""


def rates(setting: Setting) -> dict[str, Any]:
    """The bare network at each size of group: as the worker runs it, in half, as a CUDA graph."""
    setting.needs_device()
    groups = (1, 2) if setting.quick else GROUPS
    return {
        kind: {group: _rate_or_reason(setting, make, group) for group in groups}
        for kind, make in _kinds(setting).items()
    }


Forward = Callable[[], Any]


def _kinds(setting: Setting) -> dict[str, Callable[[Setting, int], Forward]]:
    """Ways to call the network on a full group that is on the device already."""
    every = {"fp32": _eager("fp32"), "as the worker": _worker}
    on_gpu = {
        "fine in fp32, rest fp16": _own("fp16"),
        "fine in fp32, rest bf16": _own("bf16"),
        "autocast fp16": _eager("fp16"),
        "autocast bf16": _eager("bf16"),
        "half": _half,
        "half, graph": _graph,
    }
    return {**every, **on_gpu} if setting.is_gpu else every


def _eager(precision: str) -> Callable[[Setting, int], Forward]:
    def make(setting: Setting, group: int) -> Forward:
        import torch

        from maskmill.pipeline.models.precision import DTYPES

        segmenter, pixels = _loaded(setting, "fp32", group)
        dtype, half = DTYPES[precision], precision != "fp32"

        def forward() -> Any:
            with torch.inference_mode(), torch.autocast(pixels.device.type, dtype, enabled=half):
                return segmenter.network(pixels)

        return forward

    return make


def _own(precision: str) -> Callable[[Setting, int], Forward]:
    """The network as the worker has it, its weights in half but for the finest and the last."""

    def make(setting: Setting, group: int) -> Forward:
        import torch

        segmenter, pixels = _loaded(setting, precision, group)

        def forward() -> Any:
            with torch.inference_mode():
                return segmenter.network(pixels)

        return forward

    return make


def _half(setting: Setting, group: int) -> Forward:
    """Weights and pictures in fp16: what autocast would convert for each call."""
    import torch

    segmenter, pixels = _loaded(setting, "fp32", group)
    network, halves = segmenter.network.half(), pixels.half()

    def forward() -> Any:
        with torch.inference_mode():
            return network(halves)

    return forward


def _graph(setting: Setting, group: int) -> Forward:
    """The same, recorded once and replayed by a single launch."""
    import torch

    eager = _half(setting, group)
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            eager()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        eager()
    return graph.replay


def _worker(setting: Setting, group: int) -> Forward:
    """Segmenter.forward, from pictures in memory to logits in memory."""
    segmenter = setting.segmenter("auto", group)
    pictures = setting.made_up_pictures(group)
    return lambda: segmenter.forward(pictures)


def _loaded(setting: Setting, precision: str, group: int) -> tuple[Any, Any]:
    from maskmill.pipeline.models.segmenter import network_input

    segmenter = setting.segmenter(precision, group)
    pictures = setting.made_up_pictures(group)
    return segmenter, network_input(pictures, segmenter.spec.preprocessing, segmenter.device)


def _rate_or_reason(
    setting: Setting, make: Callable[[Setting, int], Forward], group: int
) -> dict[str, Any]:
    """A library that cannot do it, or has no room for it, is a result too."""
    try:
        return _rate(setting, make(setting, group), group)
    except RuntimeError as error:
        return {"failed": str(error).partition("\n")[0][:200]}


def _rate(setting: Setting, forward: Forward, group: int) -> dict[str, float]:
    """Images/s over whole calls; of a call the host's milliseconds, the device's, and its peak."""
    for _ in range(1 if setting.quick else 5):
        forward()
    with _peak(setting) as peak:
        calls = _calls(setting, forward)
        seconds = _seconds(setting, forward, calls)
    figures = {"images_per_second": round(group * calls / seconds["whole"], 2)}
    for name in ("host", "device"):
        figures[f"{name}_ms"] = round(seconds[name] * 1000 / calls, 3)
    return {**figures, "peak_mib": round(peak["bytes"] / 2**20, 1)}


def _calls(setting: Setting, forward: Forward) -> int:
    started = time.perf_counter()
    forward()
    _wait(setting)
    once = time.perf_counter() - started
    return 1 if setting.quick else max(3, int(SECONDS / once))


def _seconds(setting: Setting, forward: Forward, calls: int) -> dict[str, float]:
    """Of so many calls: until the last was launched, on the device, and until all was done."""
    import torch

    marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if setting.is_gpu else []
    _wait(setting)
    started = time.perf_counter()
    if marks:
        marks[0].record()
    for _ in range(calls):
        forward()
    if marks:
        marks[1].record()
    launched = time.perf_counter() - started
    _wait(setting)
    whole = time.perf_counter() - started
    device = marks[0].elapsed_time(marks[1]) / 1000 if marks else whole
    return {"host": launched, "device": device, "whole": whole}


def _wait(setting: Setting) -> None:
    if setting.is_gpu:
        import torch

        torch.cuda.synchronize()


@contextmanager
def _peak(setting: Setting) -> Iterator[dict[str, int]]:
    """Most bytes on the device within the block; 0 on a CPU."""
    import torch

    found = {"bytes": 0}
    if setting.is_gpu:
        torch.cuda.reset_peak_memory_stats()
    yield found
    if setting.is_gpu:
        found["bytes"] = torch.cuda.max_memory_allocated()


def stages(setting: Setting) -> dict[str, Any]:
    """Milliseconds and bytes of each thing that is done to a picture, on one thread of its own."""
    setting.needs_device()
    import numpy as np
    import torch

    from maskmill.pipeline.labelling.picture import label_picture
    from maskmill.pipeline.models.segmenter import network_input
    from maskmill.pipeline.views.geometry import GridView
    from maskmill.pipeline.views.plan import ViewSettings, plan_views
    from maskmill.pipeline.views.preparation import prepare

    group = 2 if setting.quick else 8
    segmenter = setting.segmenter("auto", group)
    rule, plan = segmenter.spec.preprocessing, plan_views((375, 500), ViewSettings())
    image = np.random.default_rng(3).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    pictures = setting.made_up_pictures(group)
    pixels = network_input(pictures, rule, segmenter.device)
    with torch.inference_mode():
        grids = segmenter.network(pixels)
    answer = segmenter.forward(pictures)[0]
    views = (GridView(answer.logits, answer.rows, answer.cols),)
    # (what is done, images at once, bytes that come out of it)
    done: dict[str, tuple[Forward, int, int]] = {
        "prepare": (lambda: prepare(image, rule), 1, pictures[0].pixels.nbytes),
        "upload and normalise": (
            lambda: network_input(pictures, rule, segmenter.device), group, pixels.nbytes,
        ),
        "whole forward": (lambda: segmenter.forward(pictures), group, answer.logits.nbytes * group),
        "download": (lambda: grids.float().cpu(), group, grids.numel() * 4),
        "label": (lambda: label_picture(views, plan, (375, 500)), 1, 375 * 500),
    }  # fmt: skip
    return {name: _stage(setting, *what) for name, what in done.items()}


def _stage(setting: Setting, call: Forward, images: int, size: int) -> dict[str, float]:
    call()
    calls = _calls(setting, call)
    whole = _seconds(setting, call, calls)["whole"]
    return {"ms_per_image": round(whole * 1000 / calls / images, 3), "bytes": size // images}


def exhaustion(setting: Setting) -> dict[str, Any]:
    """Little memory: groups are halved, what fits nowhere fails alone, and all is well again."""
    setting.needs_gpu("the CPU's memory cannot be bounded for a moment")
    import torch

    from maskmill.schemas.errors import ImageFailure

    group = 64
    segmenter = setting.segmenter("auto", group)
    pictures = setting.made_up_pictures(group)
    before = segmenter.forward(pictures)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(_small_share(segmenter, pictures))
    try:
        tight = segmenter.forward(pictures)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    after = segmenter.forward(pictures)
    failed = sum(isinstance(one, ImageFailure) for one in tight)
    halved = sum(not isinstance(one, ImageFailure) and one.halved for one in tight)
    same = hash_of(before) == hash_of(after)
    holds = halved == group and not failed and same
    return {"holds": holds, "halved": halved, "failed": failed, "same_afterwards": same}


def _small_share(segmenter: Any, pictures: list[Any]) -> float:
    """Room for the weights and a quarter of the group, as a share of the GPU's memory."""
    import torch

    weights = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    segmenter.forward(pictures)
    needed = torch.cuda.max_memory_allocated() - weights
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    return float((weights + needed / 4) / total)
