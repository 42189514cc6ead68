"""Pruned upsampling against plain interpolate + argmax, a ratio measured in one run each.

    python benchmarks/upsampling.py [--quick] [--threads N]

Logits are the default model's own, of packaged photographs, where its weights are in the cache
(``maskmill models pull``), else smooth random fields; the lines say which. 150 classes are shifted
copies of the 21. The plain way is PyTorch's interpolate and argmax with N threads (default 1, what
a save worker has); the pruned way always runs on one. Times are medians of alternating turns;
memory is the greatest resident size of a process of its own less that before the call. The last
lines do the same for twelve views (six scales, each mirrored) averaged as probabilities.
"""

import argparse
import ctypes
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from maskmill.pipeline.labelling.averages import View
from maskmill.pipeline.labelling.confidence import grid_probabilities
from maskmill.pipeline.labelling.fusion import fuse_argmax
from maskmill.pipeline.labelling.upsample import upsample_argmax
from maskmill.pipeline.models.registry import DEFAULT_MODEL, MODELS
from maskmill.pipeline.models.weights.origins import cached_path
from maskmill.pipeline.views.geometry import AxisMap
from maskmill.schemas.arrays import LabelMask, LogitGrid

SIZES = {"0.3": (480, 640), "2": (1224, 1632), "12": (3000, 4000)}
TURNS = {"0.3": (4, 7), "2": (2, 3), "12": (1, 2)}
"""Pictures and turns per picture at each size."""
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out 12 megapixels")
    parser.add_argument("--threads", type=int, default=1, help="of the plain way")
    parser.add_argument("--memory-of", nargs=4, metavar=("SIDE", "WORK", "PIXELS", "GRIDS"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        side, work, megapixels, grids = options.memory_of
        print(memory_of(side, work, megapixels, np.load(grids)))
        return
    source, grids_21 = logits()
    for megapixels, size in SIZES.items():
        if options.quick and megapixels == "12":
            continue
        for work, grids in {
            "21": grids_21,
            "150": [widened(grid) for grid in grids_21],
            "views": grids_21,
        }.items():
            line = compared(work, megapixels, grids, options.threads)
            print(json.dumps({**line, "logits": source, "size": list(size)}), flush=True)


def logits() -> tuple[str, list[LogitGrid]]:
    """Where they are from, and (21, 49, 65) logits of four pictures of 4:3."""
    if cached_path(MODELS[DEFAULT_MODEL]).is_file():
        return DEFAULT_MODEL, network_logits()
    rng = np.random.default_rng(0)
    coarse = torch.tensor(rng.normal(size=(4, 21, 9, 9)).astype(np.float32) * 8)
    fields = functional.interpolate(coarse, size=(49, 65), mode="bicubic", align_corners=True)
    return "smooth random fields", list(fields.numpy())


def network_logits() -> list[LogitGrid]:
    """The default model's logits of packaged photographs."""
    from skimage import data  # a development dependency

    from maskmill.pipeline.models.segmenter import PictureLogits, Segmenter
    from maskmill.pipeline.views.preparation import prepare

    spec = MODELS[DEFAULT_MODEL]
    segmenter = Segmenter(spec, cached_path(spec), precision="fp32")
    results = []
    for picture in (data.astronaut(), data.chelsea(), data.coffee(), data.rocket()):
        height = min(picture.shape[0], picture.shape[1] * 3 // 4)
        crop = np.array(picture[:height, : height * 4 // 3])
        result = segmenter.forward([prepare(crop, spec.preprocessing)])[0]
        assert isinstance(result, PictureLogits)
        results.append(np.ascontiguousarray(result.logits[:, :49]))
    return results


def widened(grid: LogitGrid) -> LogitGrid:
    """(150, h, w): shifted copies of 21 classes, each copy a little weaker."""
    rng = np.random.default_rng(1)
    copies = [
        np.roll(grid, tuple(rng.integers(-20, 20, 2)) if k else (0, 0), axis=(1, 2)) - 0.1 * k
        for k in range(-(-150 // len(grid)))
    ]
    return np.concatenate(copies)[:150].astype(np.float32)


def maps(
    size: tuple[int, int], points: tuple[int, ...], *, mirrored: bool = False
) -> tuple[AxisMap, AxisMap]:
    """Rows and columns at the positions of PyTorch's align_corners, so that masks compare."""
    rows, cols = (
        AxisMap((count - 1) / (pixels - 1), 0.0, 0.0, count - 1.0)
        for pixels, count in zip(size, points, strict=True)
    )
    return rows, (AxisMap(-cols.scale, cols.high, 0.0, cols.high) if mirrored else cols)


def views_of(grid: LogitGrid, size: tuple[int, int]) -> list[View]:
    """Twelve views made of one grid: six scales, each mirrored."""
    views = []
    for scale in SCALES:
        points = round(48 * scale) + 1, round(64 * scale) + 1
        part = functional.interpolate(torch.from_numpy(grid)[None], size=points, mode="bicubic")
        values = grid_probabilities(part[0].numpy())
        views.append(View(values, *maps(size, points)))
        values = np.ascontiguousarray(values[:, :, ::-1])
        views.append(View(values, *maps(size, points, mirrored=True)))
    return views


def plain(grid: LogitGrid, size: tuple[int, int]) -> Tensor:
    """(C, H, W) by PyTorch; the picture's borders are those of the grid."""
    tensor = torch.from_numpy(grid)[None]
    return functional.interpolate(tensor, size=size, mode="bilinear", align_corners=True)[0]


def plain_views(views: list[View], size: tuple[int, int]) -> LabelMask:
    total = plain(views[0].probabilities, size)
    for position, view in enumerate(views[1:], 1):
        values = plain(view.probabilities, size)
        total += values.flip(2) if position % 2 else values
    return total.argmax(0).to(torch.uint8).numpy()


def sides(work: str, size: tuple[int, int], grid: LogitGrid) -> dict[str, Callable[[], LabelMask]]:
    """The two ways of doing one thing."""
    if work == "views":
        views = views_of(grid, size)
        return {
            "plain": lambda: plain_views(views, size),
            "pruned": lambda: fuse_argmax(views, size),
        }
    rows, cols = maps(size, grid.shape[1:])
    return {
        "plain": lambda: plain(grid, size).argmax(0).to(torch.uint8).numpy(),
        "pruned": lambda: upsample_argmax(grid, rows, cols, size),
    }


def compared(
    work: str, megapixels: str, grids: list[LogitGrid], threads: int
) -> dict[str, float | str | int]:
    """Time and memory of both sides on one size of picture."""
    size = SIZES[megapixels]
    pictures, turns = TURNS[megapixels]
    times: dict[str, list[float]] = {"plain": [], "pruned": []}
    agreement = []
    for grid in grids[:pictures]:
        both = sides(work, size, grid)
        masks = {}
        for _ in range(turns):
            for side, function in both.items():
                start = time.perf_counter()
                masks[side] = function()
                times[side].append(time.perf_counter() - start)
        agreement.append(float((masks["plain"] == masks["pruned"]).mean()))
    medians = {side: statistics.median(values) for side, values in times.items()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "grid.npy"
        np.save(file, grids[0])
        memory = {side: measured_memory(side, work, megapixels, file, threads) for side in times}
    return {
        "benchmark": "fusion" if work == "views" else "upsampling",
        "megapixels": float(megapixels),
        "classes": len(grids[0]),
        "views": 2 * len(SCALES) if work == "views" else 1,
        "plain_threads": threads,
        "plain_ms": round(medians["plain"] * 1e3, 2),
        "pruned_ms": round(medians["pruned"] * 1e3, 2),
        "times_faster": round(medians["plain"] / medians["pruned"], 1),
        "plain_mib": round(memory["plain"], 1),
        "pruned_mib": round(memory["pruned"], 1),
        "times_smaller": round(memory["plain"] / memory["pruned"], 1),
        "agreement": round(float(np.mean(agreement)), 6),
    }


def measured_memory(side: str, work: str, megapixels: str, grid: Path, threads: int) -> float:
    """MiB, in a process that does only that."""
    command = [sys.executable, __file__, "--threads", str(threads)]
    command += ["--memory-of", side, work, megapixels, str(grid)]
    root = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root}
    )
    return float(done.stdout)


def memory_of(side: str, work: str, megapixels: str, grid: LogitGrid) -> float:
    """MiB of resident memory that one call adds at its greatest (Linux)."""
    function = sides(work, SIZES[megapixels], grid)[side]
    sides(work, (32, 48), grid)[side]()  # what is loaded at the first call is not the call's
    ctypes.CDLL(None).malloc_trim(0)  # room left over by the start must not hide what is needed
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts from here
    before = resident("VmRSS")
    function()
    return max(resident("VmHWM") - before, 1) / 1024


def resident(field: str) -> int:
    """KiB, from the process's own status."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, field
    return int(found.group(1))


if __name__ == "__main__":
    main()
