"""From the network's answers to one picture to its labels, their confidence and their average.

One answer is upsampled as it is. Several, from scales, mirror images or windows, are averaged as
probabilities, one after the other, so that no more than a grid of each is ever held.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.labelling.averages import View, average_probabilities, place, strips
from maskmill.pipeline.labelling.bilinear import IndexArray
from maskmill.pipeline.labelling.binary import two_class_grid
from maskmill.pipeline.labelling.confidence import grid_confidence, grid_probabilities
from maskmill.pipeline.labelling.fusion import FusedPicture, fuse, grid_step
from maskmill.pipeline.labelling.unsure import ignore_below
from maskmill.pipeline.labelling.unsure_views import ignore_below_average
from maskmill.pipeline.labelling.upsample import upsample_argmax
from maskmill.pipeline.views.geometry import AxisMap, GridView
from maskmill.pipeline.views.plan import ViewPlan
from maskmill.schemas.arrays import LogitGrid


def label_picture(
    answers: Sequence[GridView],
    plan: ViewPlan,
    size_hw: tuple[int, int],
    *,
    dtype: npt.DTypeLike = np.uint8,
    threshold: float | None = None,
) -> FusedPicture:
    """Mask at the picture's size, and how sure the network is of it.

    Args:
        answers: logits of each view of the plan, in its order. One channel is a sigmoid head:
            class 1 where it says so, else class 0.
        plan: of a picture of ``size_hw``.
        size_hw: (H, W) of the mask.
        dtype: of the mask.
        threshold: of two classes, the second wins where its probability is above this; None: ½.

    Raises:
        ValueError: answers that do not fit the plan; a threshold without two classes.
    """
    if len(answers) == 1:
        only = answers[0]
        confidence = grid_confidence(only.grid)
        grid = _decided(only.grid, threshold)
        mask = upsample_argmax(grid, only.rows, only.cols, size_hw, dtype=dtype)
        return FusedPicture(mask, confidence, only.rows, only.cols, answers, plan)
    steps = [grid_step(answer.rows, answer.cols) for answer in answers]
    fused = fuse(
        _views(answers, plan),
        size_hw,
        dtype=dtype,
        threshold=0.5 if threshold is None else threshold,
        step_hw=(min(step[0] for step in steps), min(step[1] for step in steps)),
    )
    return replace(fused, answers=answers, plan=plan)


def average_answer(
    answers: Sequence[GridView], plan: ViewPlan, size_hw: tuple[int, int], picture: FusedPicture
) -> GridView:
    """One answer for all: its softmax is the average of theirs, at the points of ``picture``.

    ``picture`` is what :func:`label_picture` made of the same answers. A sigmoid head's answer
    has two channels here.
    """
    if len(answers) == 1:
        only = answers[0]
        if len(only.grid) > 1:
            return only
        return GridView(two_class_grid(only.grid), only.rows, only.cols)
    shape = picture.confidence.top1.shape
    ys, xs = _pixels(picture.rows, shape[0]), _pixels(picture.cols, shape[1])
    parts = []
    for strip in strips((place(view, size_hw) for view in _views(answers, plan)), size_hw[0]):
        inside = slice(*np.searchsorted(ys, (strip.top, strip.bottom)))
        values, total = average_probabilities(strip.views, ys[inside], xs)
        parts.append(values / total)
    probabilities = np.maximum(np.concatenate(parts, axis=1), np.finfo(np.float32).tiny)
    return GridView(np.log(probabilities), picture.rows, picture.cols)


def ignore_unsure(picture: FusedPicture, min_confidence: float, ignore_index: int) -> None:
    """Writes ``ignore_index`` to the mask where a pixel's own highest probability is too low.

    Of one answer that is the softmax of the logits at the pixel's position, of several the average
    of their probabilities there. ``picture`` is what :func:`label_picture` made.

    Raises:
        ValueError: a picture that does not know what it was made of.
    """
    if picture.plan is None:
        raise ValueError("this picture does not hold the answers it was made of")
    if len(picture.answers) == 1:
        only = picture.answers[0]
        ignore_below(picture.mask, only.grid, only.rows, only.cols, min_confidence, ignore_index)
        return
    views = _views(picture.answers, picture.plan)
    ignore_below_average(picture.mask, views, min_confidence, ignore_index)


def _decided(grid: LogitGrid, threshold: float | None) -> LogitGrid:
    """Values whose argmax is the label, with the threshold in them."""
    if len(grid) == 1:
        return two_class_grid(grid, 0.5 if threshold is None else threshold)
    if threshold is None:
        return grid
    if len(grid) != 2:
        raise ValueError(f"threshold {threshold} with {len(grid)} classes: it is for two")
    return two_class_grid(grid[1:] - grid[:1], threshold)


def _views(answers: Sequence[GridView], plan: ViewPlan) -> Iterator[View]:
    """The answers as probabilities, made one at a time, placed in their windows."""
    for answer, window in zip(answers, plan.view_windows(), strict=True):
        yield View(grid_probabilities(answer.grid), answer.rows, answer.cols, window)


def _pixels(axis: AxisMap, points: int) -> IndexArray:
    """The pixels that lie exactly on the points of a lattice (see ``fusion.fuse``)."""
    pixels: IndexArray = np.rint((np.arange(points) - axis.offset) / axis.scale).astype(np.intp)
    return pixels
