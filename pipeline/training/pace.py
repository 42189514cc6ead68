"""How long a training will take, measured before its first step."""

import time

import torch

from maskmill.pipeline.training.batches import Batch
from maskmill.pipeline.training.loop import Training
from maskmill.pipeline.training.task import Entries


def estimated_seconds(training: Training) -> float:
    """Of all that is still to do: a step and a validation picture are tried out and multiplied.

    Nothing of the network changes: no optimiser steps, and batch norm keeps its statistics.
    """
    task = training.task
    left = task.steps - training.progress.step
    share = task.recipe.batch_size // task.workers
    per_step = _seconds_per_step(training, share)
    pictures = len(Entries(task.layout, "validate")) // task.workers + 1
    side = task.spec.preprocessing.size if task.spec.preprocessing.pad else task.crop
    forward = per_step / share / 3 * (side / task.crop) ** 2  # backward is about twice forward
    validations = -(-left // task.steps_per_epoch)
    return left * per_step + validations * pictures * forward


def _seconds_per_step(training: Training, images: int) -> float:
    task = training.task
    training.network.eval()
    shape = (images, 3, task.crop, task.crop)
    empty = torch.zeros(shape).contiguous(memory_format=torch.channels_last)
    truth = torch.zeros((images, task.crop, task.crop), dtype=torch.int64)
    seconds = 0.0
    for _ in range(2):  # the first one also finds memory and kernels
        started = time.perf_counter()
        training.loss_of(Batch(empty, truth))[0].backward()  # type: ignore[no-untyped-call]
        if task.device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    training.optimizer.zero_grad(set_to_none=True)
    return seconds
