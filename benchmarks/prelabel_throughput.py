"""Throughput of `prelabel` against its limit, the bare forward, and against a plain loop.

    python benchmarks/prelabel_throughput.py [IMAGES]

Prints JSON lines; every ratio has both of its sides measured in this run. The bare forward is the
better of {one process with all threads, one process per core with one thread}, one image per
forward, at the precision that `--precision auto` takes, measured before and after the run.
"""

import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pictures import write_crops
from PIL import Image
from runs import watch_prelabel

from maskmill.pipeline.models.precision import resolve_precision
from maskmill.pipeline.models.registry import DEFAULT_MODEL, find_model
from maskmill.pipeline.models.segmenter import Segmenter, load_network
from maskmill.pipeline.models.weights.origins import resolve_weights
from maskmill.pipeline.pictures.decoding import decode_image
from maskmill.pipeline.views.preparation import prepare

SPEC = find_model(DEFAULT_MODEL)
CORES = len(os.sched_getaffinity(0))
FORWARDS = 120
LOOP_IMAGES = 60


def load_pictures(folder: Path, count: int) -> list:
    paths = sorted(folder.iterdir())[:count]
    images = [decode_image(p.read_bytes(), name=p.name, max_pixels=1 << 27).pixels for p in paths]
    return [prepare(image, SPEC.preprocessing) for image in images]


def forward_rate(
    folder: Path, precision: str, threads: int, barrier: Any = None, result: Any = None
) -> float:
    """Images per second of the network alone, one image per forward, inputs ready in memory."""
    segmenter = Segmenter(SPEC, resolve_weights(SPEC), precision=precision, threads=threads)
    pictures = load_pictures(folder, 32)
    for picture in pictures[:8]:
        segmenter.forward([picture])
    if barrier is not None:
        barrier.wait()
    started = time.perf_counter()
    for number in range(FORWARDS):
        segmenter.forward([pictures[number % len(pictures)]])
    rate = FORWARDS / (time.perf_counter() - started)
    if result is not None:
        result.put(rate)
    return rate


def one_process_rate(folder: Path, precision: str) -> float:
    return _rates(folder, precision, CORES, 1)


def process_per_core_rate(folder: Path, precision: str) -> float:
    return _rates(folder, precision, 1, CORES)


def _rates(folder: Path, precision: str, threads: int, processes: int) -> float:
    context = multiprocessing.get_context("spawn")
    barrier, result = context.Barrier(processes), context.Queue()
    arguments = (folder, precision, threads, barrier, result)
    workers = [context.Process(target=forward_rate, args=arguments) for _ in range(processes)]
    for worker in workers:
        worker.start()
    rates = [result.get() for _ in workers]
    for worker in workers:
        worker.join()
    return sum(rates)


Enlarge = Callable[[torch.Tensor, tuple[int, int], tuple[int, int]], torch.Tensor]
"""Logits of 513x513, (width, height) of the picture, and of it as scaled -> (1, C, H, W) scores."""


def sampled(logits: torch.Tensor, whole: tuple[int, int], scaled: tuple[int, int]) -> torch.Tensor:
    """Each pixel takes the scores at its own place on the network's grid."""
    where = sampling_grid(whole, scaled)
    return F.grid_sample(logits, where, mode="bilinear", align_corners=True)


def interpolated(
    logits: torch.Tensor, whole: tuple[int, int], scaled: tuple[int, int]
) -> torch.Tensor:
    """The usual two steps: up to the network's input, and what is the picture up to its size."""
    scores = F.interpolate(logits, (513, 513), mode="bilinear", align_corners=True)
    scores = scores[:, :, : scaled[1], : scaled[0]]
    return F.interpolate(scores, whole[::-1], mode="bilinear", align_corners=False)


def plain_loop(folder: Path, out: Path, count: int, enlarge: Enlarge = sampled) -> float:
    """The script people write: open, resize, normalise, forward in fp32, argmax, save. Images/s.

    The network is PyTorch's own modules as they are built; `fused_loop` has what we make of them.
    """
    torch.set_num_threads(CORES)
    return _loop(load_network(SPEC, resolve_weights(SPEC)).eval(), folder, out, count, enlarge)


def fused_loop(folder: Path, out: Path, count: int) -> float:
    """The same script around our network with its activations fused into the convolutions."""
    segmenter = Segmenter(SPEC, resolve_weights(SPEC), precision="fp32", threads=CORES)
    return _loop(segmenter.network, folder, out, count)


def _loop(
    network: torch.nn.Module, folder: Path, out: Path, count: int, enlarge: Enlarge = sampled
) -> float:
    out.mkdir()
    paths = sorted(folder.iterdir())[: count + 4]
    for number, path in enumerate(paths):
        if number == 4:
            started = time.perf_counter()
        plain_picture(network, path, out / f"{path.stem}.png", enlarge)
    return (len(paths) - 4) / (time.perf_counter() - started)


def plain_picture(
    network: torch.nn.Module, path: Path, out: Path, enlarge: Enlarge = sampled
) -> None:
    """The script people write, one picture."""
    image = Image.open(path).convert("RGB")
    scale = 513 / max(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    pixels = torch.from_numpy(np.array(image.resize(size, Image.Resampling.BILINEAR)))
    values = (pixels.permute(2, 0, 1)[None].float() / 127.5) - 1
    padded = F.pad(values, (0, 513 - size[0], 0, 513 - size[1]))
    with torch.inference_mode():
        full = enlarge(network(padded), image.size, size)
        mask = full.argmax(1)[0].to(torch.uint8).numpy()
    Image.fromarray(mask).save(out)


def sampling_grid(original: tuple[int, int], scaled: tuple[int, int]) -> torch.Tensor:
    """(1, H, W, 2): where each original pixel lies on the 513x513 input, in -1..1."""
    axes = []
    for pixels, size in zip(original, scaled, strict=True):
        position = ((torch.arange(pixels) + 0.5) * size / pixels - 0.5).clamp(0, size - 1)
        axes.append(position / 512 * 2 - 1)
    columns, rows = torch.meshgrid(axes[0], axes[1], indexing="xy")
    return torch.stack([columns, rows], dim=-1)[None]


def agreement(first: Path, second: Path) -> list[float]:
    """Share of equal pixels, picture by picture."""
    shares = []
    for path in sorted(first.iterdir()):
        with Image.open(path) as one, Image.open(second / path.name) as other:
            shares.append(float((np.asarray(one) == np.asarray(other)).mean()))
    return shares


def say(**figures: object) -> None:
    print(
        json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}),
        flush=True,
    )


def main(count: int) -> None:
    precision = resolve_precision("auto", "cpu")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        crops = write_crops(work / "crops", count)
        few = write_crops(work / "few", LOOP_IMAGES + 4)
        bare = {"one_process": [], "process_per_core": []}

        def measure_bare() -> None:
            bare["one_process"].append(one_process_rate(crops, precision))
            bare["process_per_core"].append(process_per_core_rate(crops, precision))

        loop_rates = [plain_loop(few, work / "loop", LOOP_IMAGES)]
        measure_bare()
        run = watch_prelabel(crops, work / "out")
        measure_bare()
        loop_rates.append(plain_loop(few, work / "loop again", LOOP_IMAGES))
        limits = {name: statistics.mean(rates) for name, rates in bare.items()}
        say(
            benchmark="prelabel / bare forward",
            precision=precision,
            cores=CORES,
            images=run.images,
            prelabel=run.steady_rate,
            **limits,
            ratio=run.steady_rate / max(limits.values()),
            first_row_seconds=run.first_row_seconds,
        )
        say(
            benchmark="prelabel / plain fp32 loop",
            prelabel=run.steady_rate,
            loop=statistics.mean(loop_rates),
            ratio=run.steady_rate / statistics.mean(loop_rates),
        )
        for kind in ("fp32", precision):
            watch_prelabel(few, work / f"few_{kind}", "--precision", kind)
            shares = agreement(work / "loop", work / f"few_{kind}/masks")
            say(
                benchmark=f"masks of {kind} prelabel equal to the fp32 loop's",
                mean=statistics.mean(shares),
                worst=min(shares),
                images=len(shares),
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1200)
