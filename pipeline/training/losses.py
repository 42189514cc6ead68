"""Losses as functions of sums over pixels, so that several workers add theirs and get one loss.

Every loss here is a ratio of sums over the whole batch. A worker computes the sums of its share,
``gather`` adds those of all workers (and lets gradients through), and the loss of the whole batch
follows: what N workers compute is what one would.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from maskmill.schemas.errors import SettingsError

Gather = Callable[[Tensor], Tensor]
"""(n,) sums of this worker -> those of all workers together."""

LOSSES: Final = ("ce", "dice_ce", "dice_bce")
SMOOTH: Final = 1.0
"""Added to both halves of Dice: a class of few pixels then counts little instead of at random."""


def alone(sums: Tensor) -> Tensor:
    """The sums of all workers where there is one."""
    return sums


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss by its name in LOSSES.

    ``ce``: mean over pixels of the weighted negative log-likelihood; as
    ``torch.nn.functional.cross_entropy``. ``dice_ce``: that plus the soft Dice loss of all classes
    in the batch. ``dice_bce``, for two classes: binary cross-entropy plus the Dice loss of the
    second class alone. ``weights`` is (C,) or None; Dice, which weighs classes alike already, does
    without.

    Raises:
        SettingsError: no such loss.
    """

    name: str
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise SettingsError(f"no loss {self.name!r}; there are: {', '.join(LOSSES)}")

    def __call__(
        self, logits: Tensor, truth: Tensor, ignore: int, gather: Gather = alone
    ) -> tuple[Tensor, int]:
        """The loss of the whole batch, a scalar, and its pixels that are not ignored.

        Args:
            logits: (N, C, H, W) float.
            truth: (N, H, W) int64 class indices, or ``ignore``.
            ignore: the value that is not learnt from.
            gather: adds the sums of all workers.
        """
        logits = logits.float()
        if self.name == "ce":
            sums = gather(cross_entropy_sums(logits, truth, ignore, self.weights))
            return _ratio(sums[0], sums[1]), int(sums[2])
        entropy = cross_entropy_sums(logits, truth, ignore, self.weights)
        classes = dice_sums(logits, truth, ignore)
        sums = gather(torch.cat((entropy, classes.flatten())))
        overlap = sums[3:].view_as(classes)
        dice = dice_loss(overlap[:, 1:] if self.name == "dice_bce" else overlap)
        return _ratio(sums[0], sums[1]) + dice, int(sums[2])


def cross_entropy_sums(
    logits: Tensor, truth: Tensor, ignore: int, weights: Tensor | None = None
) -> Tensor:
    """(3,): weighted negative log-likelihood, weights and number of the pixels not ignored.

    Of two classes this is binary cross-entropy: softmax over (a, b) is the sigmoid of b - a.
    """
    total = F.cross_entropy(logits, truth, weights, ignore_index=ignore, reduction="sum")
    valid = truth != ignore
    count = valid.sum().to(total.dtype)
    weight = count if weights is None else weights[truth[valid]].sum()
    return torch.stack((total, weight, count))


def dice_sums(logits: Tensor, truth: Tensor, ignore: int) -> Tensor:
    """(3, C): per class what prediction and truth share, their sizes added, and the truth's size.

    The prediction is soft: its probabilities. Ignored pixels are in none of the sums.
    """
    classes = logits.shape[1]
    valid = (truth != ignore).unsqueeze(1)
    probabilities = logits.softmax(dim=1) * valid
    indices = torch.where(valid.squeeze(1), truth, 0)
    target = F.one_hot(indices, classes).movedim(-1, 1).to(probabilities.dtype) * valid
    shared = (probabilities * target).sum(dim=(0, 2, 3))
    size = target.sum(dim=(0, 2, 3))
    return torch.stack((shared, probabilities.sum(dim=(0, 2, 3)) + size, size))


def dice_loss(sums: Tensor) -> Tensor:
    """1 - mean over the classes in the batch's truth of (2 shared + 1) / (sizes added + 1).

    Of the sums of :func:`dice_sums`. The coefficient is Dice's (1945); as a loss of soft
    predictions it is from Milletari et al. 2016, "V-Net", section 3, there with squared sizes.
    Without any class the loss is 0.
    """
    shared, sizes, truth = sums
    present = truth > 0
    scores = (2 * shared + SMOOTH) / (sizes + SMOOTH)
    loss: Tensor = (1 - scores).mul(present).sum() / present.sum().clamp(min=1)
    return loss


def _ratio(total: Tensor, weight: Tensor) -> Tensor:
    """The mean; 0 for a batch without a pixel to learn from, with gradients of 0."""
    return total / torch.where(weight > 0, weight, torch.ones_like(weight))
