"""Validation pictures to look at: truth, what the model said before, and what it says now."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from torch import nn

from maskmill.pipeline.models.loading import build_network
from maskmill.pipeline.models.weights.staging import local_weights
from maskmill.pipeline.training.checkpoint import Progress, load_kept, validation_rows
from maskmill.pipeline.training.comparison import Moment, comparison
from maskmill.pipeline.training.network import beginning
from maskmill.pipeline.training.pairs import PairReader
from maskmill.pipeline.training.samples import VALIDATE
from maskmill.pipeline.training.task import Entries, TrainingTask
from maskmill.schemas.arrays import LabelMask, RgbImage
from maskmill.schemas.errors import FileFailure

PICTURES: Final = 12


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A picture (H, W, 3) and three (H, W) masks of it; mIoU as the rows have it, None for none."""

    key: str
    miou_before: float | None
    miou_after: float | None
    pixels: RgbImage
    truth: LabelMask
    before: LabelMask
    after: LabelMask


def worst_pictures(task: TrainingTask, progress: Progress, most: int = PICTURES) -> Iterator[Shown]:
    """The validation pictures of the lowest mIoU at the kept epoch, worst first.

    Their masks are made again, by the network as it began and by the kept weights. A picture that
    can no longer be read is left out. Needs a kept epoch.
    """
    if progress.kept is None:
        raise ValueError("no validation after the first step")
    before = _scores(task, 0)
    after = _scores(task, int(progress.kept["epoch"]))
    known = [key for key, value in after.items() if value is not None]
    chosen = sorted(known, key=lambda key: (after[key], key))[:most]
    entries = {entry["key"]: entry for entry in Entries(task.layout, VALIDATE)}
    recipe = task.recipe
    pairs = PairReader(plan=task.data, resize=recipe.resize, max_pixels=recipe.max_pixels)
    compared = comparison(
        task.spec, task.labels, pairs, partial(_network, task, int(progress.kept["step"])),
        device=task.device, precision=task.precision, threads=task.threads,
    )  # fmt: skip
    for key in chosen:
        try:
            pair = pairs(entries[key])
        except FileFailure:
            continue
        masks = (compared.mask(moment, pair.pixels) for moment in ("before", "after"))
        yield Shown(key, before.get(key), after[key], pair.pixels, pair.mask, *masks)


def _scores(task: TrainingTask, epoch: int) -> dict[str, float | None]:
    rows = validation_rows(task.layout, epoch)
    return dict(zip(rows["key"].to_pylist(), rows["miou"].to_pylist(), strict=True))


def _network(task: TrainingTask, kept_step: int, moment: Moment) -> nn.Module:
    """As it began, or as it is kept."""
    if moment == "before":
        weights = local_weights(task.layout, task.choice.weights_path)
        return beginning(task.choice, weights, task.spec, task.labels, task.recipe.seed).network
    trained = build_network(task.spec, len(task.labels.classes))
    trained.load_state_dict(load_kept(task.layout, kept_step))
    return trained
