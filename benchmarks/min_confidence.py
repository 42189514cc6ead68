"""What --min-confidence costs: a save worker's work with it and without, in one run each.

    python benchmarks/min_confidence.py [--quick] [--classes 21|150]

Logits are those of ``upsampling.py``; 150 classes are shifted copies of the 21, as there. A
picture's work is what the run does with it besides the
network: JPEG decoding, scaling, labels at full size, PNG. ``network_ms`` is one forward of the
default model (bf16 where the processor has it); ``costs`` is the time of --min-confidence by that
of all the rest. Times are CPU seconds of one thread, the least of several turns, so that other
work on the machine counts little. ``agreement`` is the share of pixels that are treated as by
interpolating every class, softmax and maximum at every pixel.
"""

import argparse
import io
import json
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from PIL import Image
from upsampling import SIZES, TURNS, logits, maps, plain, widened

from maskmill.pipeline.labelling.unsure import ignore_below
from maskmill.pipeline.labelling.upsample import upsample_argmax
from maskmill.pipeline.models.registry import DEFAULT_MODEL, MODELS
from maskmill.pipeline.models.segmenter import Segmenter
from maskmill.pipeline.models.weights.origins import cached_path
from maskmill.pipeline.pictures.decoding import decode_image
from maskmill.pipeline.views.preparation import NetworkPicture, prepare
from maskmill.schemas.arrays import LogitGrid

THRESHOLDS = (0.5, 0.9)
IGNORE = 255
_TURNS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out 12 megapixels")
    parser.add_argument("--classes", type=int, choices=(21, 150), default=21)
    options = parser.parse_args()
    torch.set_num_threads(1)
    source, grids = logits()
    if options.classes == 150:
        grids = [widened(grid) for grid in grids]
    for megapixels, size in SIZES.items():
        if options.quick and megapixels == "12":
            continue
        pictures = grids[: max(2, TURNS[megapixels][0])]
        rest = {**picture_costs(size, pictures[0]), "network_ms": network_cost(size)}
        for threshold in THRESHOLDS:
            line = compared(size, pictures, threshold, sum(rest.values()))
            facts: dict[str, object] = {"benchmark": "min_confidence"}
            facts |= {"classes": options.classes, "megapixels": float(megapixels)}
            print(json.dumps({**facts, "logits": source, **rest, **line}), flush=True)


def milliseconds(work: Callable[[], object]) -> float:
    """The least CPU time of several turns."""
    best = float("inf")
    for _ in range(_TURNS):
        start = time.thread_time()
        work()
        best = min(best, time.thread_time() - start)
    return round(best * 1e3, 2)


def picture_costs(size: tuple[int, int], grid: LogitGrid) -> dict[str, float]:
    """Decoding, scaling, labels and PNG of a picture of this size."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    picture = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
    picture.save(stream, "JPEG", quality=90)
    data = stream.getvalue()
    pixels = np.array(picture)
    rule = MODELS[DEFAULT_MODEL].preprocessing
    rows, cols = maps(size, grid.shape[1:])
    mask = upsample_argmax(grid, rows, cols, size)

    def png() -> None:
        Image.fromarray(mask, "L").save(io.BytesIO(), "PNG", compress_level=1)

    return {
        "decode_ms": milliseconds(lambda: decode_image(data, name="x", max_pixels=1 << 30)),
        "scale_ms": milliseconds(lambda: prepare(pixels, rule)),
        "labels_ms": milliseconds(lambda: upsample_argmax(grid, rows, cols, size)),
        "png_ms": milliseconds(png),
    }


def network_cost(size: tuple[int, int]) -> float:
    """One forward of the default model with a picture of this shape."""
    spec = MODELS[DEFAULT_MODEL]
    if not cached_path(spec).is_file():
        return 0.0
    segmenter = Segmenter(spec, cached_path(spec), precision="auto")
    picture: NetworkPicture = prepare(np.zeros((*size, 3), np.uint8), spec.preprocessing)
    return milliseconds(lambda: segmenter.forward([picture]))


def compared(
    size: tuple[int, int], grids: list[LogitGrid], threshold: float, rest_ms: float
) -> dict[str, float]:
    """Cost, share of ignored pixels and agreement, over pictures."""
    costs, shares, agreement = [], [], []
    for grid in grids:
        rows, cols = maps(size, grid.shape[1:])
        before = upsample_argmax(grid, rows, cols, size)
        mask = before.copy()
        work = partial(ignore_below, mask, grid, rows, cols, threshold, IGNORE)
        costs.append(milliseconds(work))
        values = plain(grid, size)
        top1 = 1 / torch.exp(values - values.amax(0)).sum(0)
        wanted = np.where((top1 < threshold).numpy(), IGNORE, before)
        shares.append(float((mask == IGNORE).mean()))
        agreement.append(float((mask == wanted).mean()))
    cost = float(np.mean(costs))
    return {
        "threshold": threshold,
        "ignored": round(float(np.mean(shares)), 3),
        "min_confidence_ms": round(cost, 2),
        "costs": round(cost / rest_ms, 3),
        "agreement": round(float(np.mean(agreement)), 7),
    }


if __name__ == "__main__":
    main()
