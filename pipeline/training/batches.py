"""Batches: which samples a step learns from, and a thread that has them ready in time."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from maskmill.pipeline.training.augmentation import Augmentation
from maskmill.pipeline.training.pairs import Pair
from maskmill.pipeline.views.preprocessing import Preprocessing

AHEAD: Final = 2
"""Batches that wait for the network beside those that threads are making."""

MOST_THREADS: Final = 8


@dataclass(frozen=True, slots=True)
class Position:
    """Where a step stands: its epoch (from 1) and its batch in it (from 0)."""

    epoch: int
    batch: int


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Images (N, 3, S, S) float32, normalised and channels last; truth (N, S, S) int64."""

    images: Tensor
    truth: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """The samples of every step, a function of the seed: where it stands is the step, no more.

    Each epoch takes the ``samples`` in an order of its own. Its last batch is filled up from the
    beginning of that order, so every step sees ``batch_size`` pictures.
    """

    samples: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps until every sample was seen."""
        return -(-self.samples // self.batch_size)

    def position(self, step: int) -> Position:
        """Of a step, from 0."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        return Position(epoch + 1, batch)

    def of_step(self, step: int) -> list[int]:
        """Places of the step's samples."""
        at = self.position(step)
        order = torch.randperm(self.samples, generator=seeded(self.seed, "order", at.epoch))
        first = at.batch * self.batch_size
        return [int(order[place % self.samples]) for place in range(first, first + self.batch_size)]


def seeded(*parts: object) -> torch.Generator:
    """A generator that depends on the parts alone."""
    generator = torch.Generator()
    generator.manual_seed(seed_of(*parts))
    return generator


def seed_of(*parts: object) -> int:
    """63 bits of SHA-256 over the parts."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMaker:
    """Makes the batch of a step: this worker's share of it, every ``world``-th sample."""

    sampler: Sampler
    entries: Sequence[Mapping[str, Any]]
    pairs: Callable[[Mapping[str, Any]], Pair]
    augmentation: Augmentation
    ignore: int
    rank: int = 0
    world: int = 1

    def __call__(self, step: int) -> Batch:
        """The batch.

        Raises:
            FileFailure: a sample that was good before the first step can no longer be read.
        """
        places = self.sampler.of_step(step)
        chosen = range(self.rank, len(places), self.world)
        made = [self._augmented(step, slot, places[slot]) for slot in chosen]
        return collate(made, self.augmentation.crop, self.augmentation.preprocessing, self.ignore)

    def _augmented(self, step: int, slot: int, place: int) -> tuple[Tensor, Tensor]:
        generator = seeded(self.sampler.seed, "sample", step, slot)
        return self.augmentation(self.pairs(self.entries[place]), generator)


def collate(
    made: Sequence[tuple[Tensor, Tensor]], size: int, rule: Preprocessing, ignore: int
) -> Batch:
    """Pictures and masks at the top left of squares; the rest is the rule's padding, and ignore."""
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (rule.mean, rule.std))
    grey = 0.0 if rule.pad_value is None else (rule.pad_value - mean) / std
    images = torch.empty((len(made), 3, size, size)).contiguous(memory_format=torch.channels_last)
    truth = torch.full((len(made), size, size), ignore, dtype=torch.int64)
    for image, target, (pixels, mask) in zip(images, truth, made, strict=True):
        height, width = mask.shape
        image[:] = grey
        image[:, :height, :width] = (pixels - mean) / std
        target[:height, :width] = mask
    return Batch(images, truth)


def batches_ahead(
    make: Callable[[int], Batch], first: int, stop: int, *, threads: int = 1
) -> Iterator[Batch]:
    """The batches of steps ``first`` to ``stop`` - 1; threads make them while others are used.

    They are the same whatever the number of ``threads``, of which there are MOST_THREADS at most.
    """
    count = min(threads, MOST_THREADS)
    with ThreadPoolExecutor(max_workers=count, thread_name_prefix="batches") as pool:
        waiting: deque[Future[Batch]] = deque()
        try:
            for step in range(first, stop):
                waiting.append(pool.submit(make, step))
                if len(waiting) == count + AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()
