"""What logits sent from a GPU in fp16 would do to labels and confidence: rounded here, on cores.

    python benchmarks/half_grids.py [FOLDER …]

The default network answers every photograph of the folders (else packaged ones) in fp32, and what
it says is labelled as it is and rounded to fp16. Prints a JSON line: pixels of a million with
another label (on average and in the worst picture), masks that keep every label, and how far
``mean_confidence`` and a grid point's top-1 move at most.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pictures import write_crops
from prelabel_throughput import say

from maskmill.pipeline.labelling.fusion import FusedPicture
from maskmill.pipeline.labelling.picture import label_picture
from maskmill.pipeline.models.registry import DEFAULT_MODEL, MODELS
from maskmill.pipeline.models.segmenter import Segmenter
from maskmill.pipeline.models.weights.origins import resolve_weights
from maskmill.pipeline.pictures.decoding import decode_image
from maskmill.pipeline.views.geometry import GridView
from maskmill.pipeline.views.plan import ViewSettings, plan_views
from maskmill.pipeline.views.preparation import prepare

CROPS = 32
SUFFIXES = {".jpg", ".jpeg"}


def labelled(segmenter: Segmenter, path: Path) -> tuple[FusedPicture, FusedPicture]:
    """A photograph by the logits as they are, and by the same in fp16."""
    pixels = decode_image(path.read_bytes(), name=path.name, max_pixels=1 << 27).pixels
    size_hw = (pixels.shape[0], pixels.shape[1])
    (answer,) = segmenter.forward([prepare(pixels, segmenter.spec.preprocessing)])
    if isinstance(answer, Exception):
        raise answer
    whole = GridView(answer.logits, answer.rows, answer.cols)
    half = replace(whole, grid=whole.grid.astype(np.float16).astype(np.float32))
    plan = plan_views(size_hw, ViewSettings())
    one, other = (label_picture((view,), plan, size_hw) for view in (whole, half))
    return one, other


def main(folders: Sequence[str]) -> None:
    spec = MODELS[DEFAULT_MODEL]
    segmenter = Segmenter(spec, resolve_weights(spec), precision="fp32")
    with tempfile.TemporaryDirectory() as made:
        shown = [Path(name) for name in folders] or [write_crops(Path(made), CROPS)]
        paths = [one for folder in shown for one in sorted(folder.rglob("*"))]
        pairs = [labelled(segmenter, path) for path in paths if path.suffix.lower() in SUFFIXES]
    changed = [float((a.mask != b.mask).mean()) * 1e6 for a, b in pairs]
    means = [abs(a.confidence.mean_confidence - b.confidence.mean_confidence) for a, b in pairs]
    points = [float(np.abs(a.confidence.top1 - b.confidence.top1).max()) for a, b in pairs]
    say(
        benchmark="labels from logits in fp16 against fp32",
        photographs=len(pairs),
        changed_of_a_million=float(np.mean(changed)),
        changed_in_the_worst=max(changed),
        masks_unchanged=changed.count(0),
        mean_confidence_moved=max(means),
        top1_moved=max(points),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
