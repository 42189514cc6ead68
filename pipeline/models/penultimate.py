"""The features a network makes its logits of, averaged over each picture: its embedding.

They are what enters the last convolution. They are taken from the forward that makes the logits,
which stays as it is: no second pass, and the same bits with and without.
"""

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn


class FeatureTap:
    """Keeps what enters the ``classifier`` of a network, for each thread its own."""

    def __init__(self, classifier: nn.Module) -> None:
        self._thread = threading.local()
        classifier.register_forward_pre_hook(self._keep)

    def start(self) -> None:
        """Forget what a forward left that did not come to its end."""
        self._thread.parts = []

    def take(self) -> Tensor:
        """(N, D, h, w) of this thread's forward since :meth:`start`; given once."""
        parts: list[Tensor] = self._thread.parts
        self._thread.parts = []
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _keep(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        # A network on int8 grids looks at one picture at a time: several calls to a forward.
        self._thread.parts.append(inputs[0])


def pooled(
    features: Tensor, grid_hw: tuple[int, int], rows: slice, columns: slice
) -> npt.NDArray[np.float32]:
    """(D,) mean of one picture's (D, h, w) features over the part of the grid that it fills.

    Args:
        features: what entered the classifier.
        grid_hw: height and width of the logits that ``rows`` and ``columns`` are part of; a network
            that enlarges its logits has coarser features.
        rows: those of the grid that are not padding.
        columns: likewise.
    """
    high, wide = (
        _scaled(part, points, size)
        for part, points, size in zip(
            (rows, columns), grid_hw, (features.shape[1], features.shape[2]), strict=True
        )
    )
    mean: npt.NDArray[np.float32] = features[:, high, wide].float().mean((1, 2)).cpu().numpy()
    return mean


def _scaled(part: slice, points: int, size: int) -> slice:
    if points == size:
        return part
    return slice(part.start * size // points, max(1, math.ceil(part.stop * size / points)))
