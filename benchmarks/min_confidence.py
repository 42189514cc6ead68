"""What --min-confidence costs: a save worker's work with it and without, in one run each.

    python benchmarks/min_confidence.py [--quick] [--model NAME] [--weights FILE] [--pictures DIR]
                                        [--classes N]

Everything is the model's own: the time of its network (one forward, bf16 where model and processor
have it) and its logits of the photographs in DIR, brought to each size (default: packaged ones, the
default model). A picture's work is what the run does with it: JPEG decoding, scaling, network,
labels at full size, PNG; ``costs`` is the time of --min-confidence by that of all of these, the
mean over pictures and that of the worst one. Times are CPU time of a process of one thread, the
least of several turns, so that other work on the machine counts little. ``agreement`` is the share
of pixels that are treated as by interpolating every class, softmax and maximum at every pixel.

``--classes N`` adds made classes to the model's own: each lies halfway between two of them, less
1, so that every pixel has near rivals and a long tail. The network's time stays what it is.
"""

import argparse
import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from upsampling import SIZES

from maskmill.pipeline.labelling.pixel_confidence import pixel_confidence
from maskmill.pipeline.labelling.unsure import ignore_below
from maskmill.pipeline.labelling.upsample import upsample_argmax
from maskmill.pipeline.models.registry import DEFAULT_MODEL, MODELS
from maskmill.pipeline.models.segmenter import PictureLogits, Segmenter
from maskmill.pipeline.models.weights.origins import resolve_weights
from maskmill.pipeline.pictures.decoding import decode_image
from maskmill.pipeline.views.geometry import GridView
from maskmill.pipeline.views.preparation import prepare
from maskmill.schemas.arrays import LabelMask, LogitGrid, RgbImage

THRESHOLDS = (0.5, 0.9)
IGNORE = 255
_TURNS = 5


@dataclass(frozen=True, slots=True)
class _Case:
    """A picture's answer and labels, what is done with it besides, and its plain top-1."""

    answer: GridView
    mask: LabelMask
    rest: dict[str, float]
    top1: npt.NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out 12 megapixels")
    parser.add_argument("--model", choices=sorted(MODELS), default=DEFAULT_MODEL)
    parser.add_argument("--weights", type=Path, help="of a model that cannot be fetched")
    parser.add_argument("--pictures", type=Path, help="a folder of JPEG photographs")
    parser.add_argument("--classes", type=int, help="with so many classes in all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    spec = MODELS[options.model]
    weights = options.weights or resolve_weights(spec)
    segmenter = Segmenter(spec, weights, precision="auto", threads=1)
    for megapixels, size in SIZES.items():
        if options.quick and megapixels == "12":
            continue
        cases = [
            case_of(segmenter, picture, options.classes)
            for picture in pictures(options.pictures, size)
        ]
        facts: dict[str, object] = {"benchmark": "min_confidence", "model": options.model}
        facts |= {"classes": len(cases[0].answer.grid), "megapixels": float(megapixels)}
        for threshold in THRESHOLDS:
            print(json.dumps({**facts, **compared(cases, threshold)}), flush=True)


def pictures(folder: Path | None, size: tuple[int, int]) -> Iterator[RgbImage]:
    """Photographs, cut to the shape of ``size`` and scaled to it."""
    from skimage import data  # a development dependency

    packaged = (data.astronaut, data.chelsea, data.coffee, data.rocket)
    if folder is None:
        images = [Image.fromarray(picture()) for picture in packaged]
    else:
        images = [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.jpg"))]
    if not images:
        raise SystemExit(f"no .jpg in {folder}: name a folder of photographs with --pictures")
    for image in images:
        width = min(image.width, image.height * size[1] // size[0])
        crop = image.crop((0, 0, width, width * size[0] // size[1]))
        yield np.array(crop.resize(size[::-1], Image.Resampling.BICUBIC))


def case_of(segmenter: Segmenter, picture: RgbImage, classes: int | None) -> _Case:
    """What is done with one picture, once and timed."""
    rule = segmenter.spec.preprocessing
    shown = prepare(picture, rule)
    answer = segmenter.forward([shown])[0]
    assert isinstance(answer, PictureLogits)
    grid = widened(answer.logits, classes) if classes else answer.logits
    rows, cols, size = answer.rows, answer.cols, (picture.shape[0], picture.shape[1])
    mask = upsample_argmax(grid, rows, cols, size)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=90)
    data = stream.getvalue()

    def png() -> None:
        Image.fromarray(mask, "L").save(io.BytesIO(), "PNG", compress_level=1)

    rest = {
        "decode_ms": milliseconds(lambda: decode_image(data, name="x", max_pixels=1 << 30)),
        "scale_ms": milliseconds(lambda: prepare(picture, rule)),
        "network_ms": milliseconds(lambda: segmenter.forward([shown])),
        "labels_ms": milliseconds(lambda: upsample_argmax(grid, rows, cols, size)),
        "png_ms": milliseconds(png),
    }
    top1 = pixel_confidence(grid, rows, cols, size)
    return _Case(GridView(grid, rows, cols), mask, rest, top1)


def widened(grid: LogitGrid, classes: int) -> LogitGrid:
    """(classes, h, w): the model's own logits, then those of made classes."""
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, len(grid), (2, max(0, classes - len(grid))))
    made: LogitGrid = np.concatenate([grid, (grid[first] + grid[second]) / 2 - 1])
    return made


def milliseconds(work: Callable[[], object]) -> float:
    """The least CPU time of several turns."""
    best = float("inf")
    for _ in range(_TURNS):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return round(best * 1e3, 2)


def compared(cases: list[_Case], threshold: float) -> dict[str, float]:
    """Cost, share of ignored pixels and agreement, over pictures."""
    costs, shares, agreement = [], [], []
    for case in cases:
        mask, answer = case.mask.copy(), case.answer

        def work(mask: LabelMask = mask, answer: GridView = answer) -> None:
            ignore_below(mask, answer.grid, answer.rows, answer.cols, threshold, IGNORE)

        costs.append(milliseconds(work))
        wanted = np.where(case.top1 < threshold, IGNORE, case.mask)
        shares.append(float((mask == IGNORE).mean()))
        agreement.append(float((mask == wanted).mean()))
    rests = [sum(case.rest.values()) for case in cases]
    means = {key: float(np.mean([case.rest[key] for case in cases])) for key in cases[0].rest}
    return {
        "threshold": threshold,
        **{key: round(value, 2) for key, value in means.items()},
        "ignored": round(float(np.mean(shares)), 3),
        "min_confidence_ms": round(float(np.mean(costs)), 2),
        "costs": round(float(np.sum(costs) / np.sum(rests)), 3),
        "worst_costs": round(max(cost / rest for cost, rest in zip(costs, rests, strict=True)), 3),
        "agreement": round(float(np.mean(agreement)), 7),
        "worst_agreement": round(min(agreement), 7),
    }


if __name__ == "__main__":
    main()
