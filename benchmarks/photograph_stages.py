"""Where the CPU time of a photograph of 12 megapixels goes, on one thread; and a plain loop's.

    python benchmarks/photograph_stages.py [IMAGES] [--classes N] [--turns N]

Prints JSON lines: milliseconds of each stage of `prelabel` with JPEGs decoded as far as needed and
with ``--exact-decode``, and of the plain loop (Pillow, all classes interpolated to full size,
argmax, Pillow's PNG), whose first pictures are timed. Of several turns, which the three take one
after the other on each picture, the least CPU time counts, so that what else the machine does
counts little. ``--classes N`` adds made classes to the model's own, as `min_confidence.py` does.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from large_photographs import write_photographs
from min_confidence import widened
from prelabel_throughput import plain_picture, say

from maskmill.pipeline.masks.segments import class_statistics
from maskmill.pipeline.models.allocator import keep_freed_memory
from maskmill.pipeline.models.registry import DEFAULT_MODEL, find_model
from maskmill.pipeline.models.segmenter import PictureLogits, Segmenter, load_network
from maskmill.pipeline.models.weights.origins import resolve_weights
from maskmill.pipeline.pictures.decoding import decode_image
from maskmill.pipeline.prelabel.labelled_picture import LabelRules, labelled_picture
from maskmill.pipeline.prelabel.writers.mask_file import mask_to_png
from maskmill.pipeline.views.geometry import GridView
from maskmill.pipeline.views.pictures import needed_size, view_pictures
from maskmill.pipeline.views.plan import ViewSettings, plan_views
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.labels import LabelMap, builtin

SPEC = find_model(DEFAULT_MODEL)
VIEWS = ViewSettings()
LOOP_IMAGES = 3
_T = TypeVar("_T")


class Clock:
    """The least CPU time of each stage of each picture, in milliseconds."""

    def __init__(self) -> None:
        self._best: dict[tuple[str, str, int], float] = {}

    def timed(self, kind: str, stage: str, picture: int, work: Callable[[], _T]) -> _T:
        started = time.process_time()
        result = work()
        spent = (time.process_time() - started) * 1e3
        key = kind, stage, picture
        self._best[key] = min(spent, self._best.get(key, spent))
        return result

    def means(self, kind: str) -> dict[str, float]:
        """Each stage's mean over pictures, and their sum."""
        stages: dict[str, list[float]] = {}
        for (of, stage, _), spent in self._best.items():
            if of == kind:
                stages.setdefault(stage, []).append(spent)
        means = {stage: float(np.mean(values)) for stage, values in stages.items()}
        return {**means, "all": sum(means.values())}


def needed(size_hw: tuple[int, int]) -> tuple[int, int]:
    """What of a picture the network needs."""
    return needed_size(
        size_hw, VIEWS, SPEC.preprocessing, image_size=None, alignment=SPEC.alignment
    )


def pictures_of(data: bytes, exact: bool) -> tuple[tuple[int, int], tuple]:
    image = decode_image(data, name="x", needed=None if exact else needed)
    plan = plan_views(image.size_hw, VIEWS)
    pictures = view_pictures(
        image.pixels, plan, SPEC.preprocessing,
        image_size=None, alignment=SPEC.alignment, reduction=image.reduction,
    )  # fmt: skip
    return image.size_hw, tuple(pictures)


class Prelabel:
    """What `prelabel` does with one picture."""

    def __init__(self, classes: int | None) -> None:
        keep_freed_memory()
        self._segmenter = Segmenter(SPEC, resolve_weights(SPEC), precision="fp32", threads=1)
        self._classes = classes
        self._labels = builtin(SPEC.labels)
        if classes:
            self._labels = LabelMap.from_names("made", [f"class {n}" for n in range(classes)])

    def work(self, clock: Clock, kind: str, number: int, data: bytes, exact: bool) -> LabelMask:
        size, pictures = clock.timed(
            kind, "decode, scale", number, lambda: pictures_of(data, exact)
        )
        answer = clock.timed(kind, "network", number, lambda: self._segmenter.forward(pictures)[0])
        assert isinstance(answer, PictureLogits)
        grid = widened(answer.logits, self._classes) if self._classes else answer.logits
        views, plan = (GridView(grid, answer.rows, answer.cols),), plan_views(size, VIEWS)
        rules = LabelRules(labels=self._labels)
        labelled = clock.timed(
            kind, "labels, runs", number, lambda: labelled_picture(views, plan, size, rules)
        )
        mask, runs, scores = labelled.mask, labelled.runs, labelled.class_scores
        clock.timed(
            kind, "statistics", number,
            lambda: class_statistics(mask, self._labels, scores, runs=runs),
        )  # fmt: skip
        clock.timed(kind, "PNG", number, lambda: mask_to_png(mask, self._labels))
        return mask


def figures(folder: Path, out: Path, classes: int | None, turns: int) -> Iterator[dict]:
    clock, prelabel = Clock(), Prelabel(classes)
    network = load_network(SPEC, resolve_weights(SPEC)).eval()
    equal: list[float] = []
    for turn in range(turns):
        for number, path in enumerate(sorted(folder.iterdir())):
            data = path.read_bytes()
            reduced = prelabel.work(clock, "reduced", number, data, False)
            exact = prelabel.work(clock, "exact", number, data, True)
            if not turn:
                equal.append(float((reduced == exact).mean()))
            if number < LOOP_IMAGES and not classes:
                work = lambda path=path: plain_picture(network, path, out)  # noqa: E731
                clock.timed("loop", "all stages", number, work)
    for kind in ("reduced", "exact"):
        yield {"benchmark": f"12 megapixels, {kind} decode, CPU ms", **clock.means(kind)}
    reduced_all = clock.means("reduced")["all"]
    yield {
        "benchmark": "12 megapixels, CPU time",
        "classes": classes or len(builtin(SPEC.labels).classes),
        "exact_decode_by_reduced": clock.means("exact")["all"] / reduced_all,
        "labels_equal": float(np.mean(equal)),
        "labels_equal_worst": min(equal),
    }
    if not classes:
        loop = clock.means("loop")["all"]
        yield {
            "benchmark": "12 megapixels, plain loop",
            "ms": loop,
            "ratio": loop / reduced_all,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="?", type=int, default=12)
    parser.add_argument("--classes", type=int)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = write_photographs(Path(name) / "photographs", options.images)
        for line in figures(folder, Path(name) / "mask.png", options.classes, options.turns):
            say(**line)


if __name__ == "__main__":
    main()
