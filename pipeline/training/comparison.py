"""Comparison: what a network says of a picture as a training found it, and as it left it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal

from torch import nn

from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.models.torch_settings import best_device, exact_settings
from maskmill.pipeline.training.pairs import Pair
from maskmill.pipeline.training.validation import Validator
from maskmill.schemas.arrays import LabelMask, RgbImage
from maskmill.schemas.labels import LabelMap

Moment = Literal["before", "after"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """Masks of both networks, made as validation made them, on ``threads`` threads.

    ``load`` gives a network when it is first asked for. Threads may share a comparison.
    """

    validator: Validator
    threads: int
    load: Callable[[Moment], nn.Module]
    _loaded: dict[Moment, nn.Module] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def mask(self, moment: Moment, pixels: RgbImage) -> LabelMask:
        """(H, W) classes that a network says of a picture (H, W, 3).

        Raises:
            MaskmillError: the network cannot be had, as ``load`` says; it is asked again next time.
        """
        with self._lock, exact_settings(self.threads):
            if moment not in self._loaded:
                network = self.load(moment).eval().to(self.validator.device)
                self._loaded[moment] = network
            return self.validator.predict(self._loaded[moment], pixels)


def comparison(
    spec: ModelSpec,
    labels: LabelMap,
    pairs: Callable[[Mapping[str, Any]], Pair],
    load: Callable[[Moment], nn.Module],
    *,
    device: str,
    precision: str,
    threads: int,
) -> Comparison:
    """A comparison on the device of the training and in its precision, or on the CPU in fp32 where
    this machine has no such device."""
    is_here = device in ("cpu", best_device())
    validator = Validator(
        spec=spec, labels=labels, pairs=pairs, device=device if is_here else "cpu",
        precision=precision if is_here else "fp32",
    )  # fmt: skip
    return Comparison(validator=validator, threads=threads, load=load)
