"""The features a network makes its logits of, averaged over each picture: its embedding.

They are what enters the last convolution. They are taken from the forward that makes the logits,
which stays as it is: no second pass, and the same bits with and without.
"""

import math
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.views.preparation import NetworkPicture, grid_maps, valid_part


class FeatureTap:
    """Keeps what enters the ``classifier`` of a network, for each thread its own."""

    def __init__(self, classifier: nn.Module) -> None:
        self._thread = threading.local()
        classifier.register_forward_pre_hook(self._keep)

    def start(self) -> None:
        """Forget what a forward left that did not come to its end."""
        self._thread.parts = []

    @torch.inference_mode()
    def pooled(
        self, group: Sequence[NetworkPicture], grids: Tensor, spec: ModelSpec
    ) -> list[Tensor | None]:
        """(D,) float32 of each picture of this thread's forward since :meth:`start`, on the device.

        The mean over the part of the grid that the picture fills. ``grids`` are the (N, C, h, w)
        logits; a network that enlarges its logits has coarser features.
        """
        parts: list[Tensor] = self._thread.parts
        self._thread.parts = []
        features = parts[0] if len(parts) == 1 else torch.cat(parts)
        grid_hw = (grids.shape[2], grids.shape[3])
        means: list[Tensor | None] = []
        for picture, own in zip(group, features):  # noqa: B905 - the group may be filled up
            maps = grid_maps(picture, grid_hw, spec.alignment)
            filled = (valid_part(*axis)[0] for axis in zip(maps, grid_hw, strict=True))
            sizes = zip(filled, grid_hw, own.shape[1:], strict=True)
            high, wide = (_scaled(part, points, size) for part, points, size in sizes)
            means.append(own[:, high, wide].float().mean((1, 2)))
        return means

    def _keep(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        # A network on int8 grids looks at one picture at a time: several calls to a forward.
        self._thread.parts.append(inputs[0])


def _scaled(part: slice, points: int, size: int) -> slice:
    if points == size:
        return part
    return slice(part.start * size // points, max(1, math.ceil(part.stop * size / points)))
