"""How visible the borders of windows are in the default model's output; prints JSON lines.

    python benchmarks/seams.py [--window N]

Packaged photographs are segmented in windows, once side by side and then with more and more
overlap. The seam measure is the mean change of probability from one pixel to the next across the
lines where a window begins or ends, divided by the mean change across all lines: 1 is invisible.
Beside it: the share of pixels whose label differs from the picture's taken whole, at the same
scale of the picture on the network (so that only the windows differ).
"""

import argparse
import json
from collections.abc import Iterator

import numpy as np
import torch
from skimage import data

from maskmill.pipeline.labelling.averages import View, average_probabilities, place, strips
from maskmill.pipeline.labelling.confidence import grid_probabilities
from maskmill.pipeline.labelling.fusion import fuse_argmax
from maskmill.pipeline.models.registry import DEFAULT_MODEL, MODELS
from maskmill.pipeline.models.segmenter import PictureLogits, Segmenter
from maskmill.pipeline.models.weights.origins import resolve_weights
from maskmill.pipeline.views.preparation import prepare
from maskmill.pipeline.views.tiling import Window, plan_windows
from maskmill.schemas.arrays import RgbImage

PICTURES = ("astronaut", "chelsea", "coffee", "rocket")
OVERLAPS = (0.0, 0.125, 0.25, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--window", type=int, default=256, help="side of a window in pixels")
    options = parser.parse_args()
    spec = MODELS[DEFAULT_MODEL]
    segmenter = Segmenter(
        spec, resolve_weights(spec), precision="fp32", threads=torch.get_num_threads()
    )
    pictures = [np.array(getattr(data, name)()) for name in PICTURES]
    for overlap in OVERLAPS:
        measured = [seams(segmenter, picture, options.window, overlap) for picture in pictures]
        line = {
            "benchmark": "seams",
            "window": options.window,
            "overlap": overlap,
            "seam_measure": round(float(np.mean([seam for seam, _ in measured])), 3),
            "differs_from_whole": round(float(np.mean([share for _, share in measured])), 4),
        }
        print(json.dumps(line), flush=True)


def seams(
    segmenter: Segmenter, picture: RgbImage, window: int, overlap: float
) -> tuple[float, float]:
    """The seam measure, and the share of labels that differ from the whole picture's."""
    size = picture.shape[0], picture.shape[1]
    windows = plan_windows(size, window, overlap)
    views = list(views_of(segmenter, picture, windows, 513))
    scale = 513 / max(windows[0].height, windows[0].width)
    whole = list(views_of(segmenter, picture, [None], round(max(size) * scale)))
    probabilities = np.concatenate(
        [
            average_probabilities(
                strip.views, np.arange(strip.top, strip.bottom), np.arange(size[1])
            )[0]
            for strip in strips((place(view, size) for view in views), size[0])
        ],
        axis=1,
    )
    ratios = []
    for axis, edges in ((1, borders(windows, 0, size[0])), (2, borders(windows, 1, size[1]))):
        change = np.abs(np.diff(probabilities, axis=axis)).mean(axis=(0, 3 - axis))
        ratios.append(change[edges].mean() / change.mean())
    differs = fuse_argmax(views, size) != fuse_argmax(whole, size)
    return float(np.mean(ratios)), float(differs.mean())


def views_of(
    segmenter: Segmenter, picture: RgbImage, windows: list[Window] | list[None], longest: int
) -> Iterator[View]:
    for window in windows:
        part = picture if window is None else np.ascontiguousarray(picture[window.slices])
        prepared = prepare(part, segmenter.spec.preprocessing, image_size=longest)
        result = segmenter.forward([prepared])[0]
        assert isinstance(result, PictureLogits)
        yield View(grid_probabilities(result.logits), result.rows, result.cols, window)


def borders(windows: list[Window], axis: int, size: int) -> list[int]:
    """Index k for the step from pixel k to k + 1, of every line where a window begins or ends."""
    firsts = {(w.top, w.left)[axis] for w in windows}
    lasts = {(w.top + w.height, w.left + w.width)[axis] for w in windows}
    return sorted(edge - 1 for edge in firsts | lasts if 0 < edge < size)


if __name__ == "__main__":
    main()
