"""Training in this process: what `finetune` says before it and while it is under way."""

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from maskmill.jobs.engines.machine import shared_cores
from maskmill.schemas.text import count_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from maskmill.pipeline.runs.stages import Workers
    from maskmill.pipeline.training.task import TrainingTask

LINE_SECONDS = 10.0
LONG_SECONDS = 90


class LocalTrainer:
    """Trains in this process."""

    def __call__(
        self, task: "TrainingTask", workers: "Workers", say: "Callable[[str], None]"
    ) -> None:
        """Train until the end; see :class:`pipeline.training.job.Trainer`."""
        from maskmill.pipeline.models.torch_settings import exact_settings
        from maskmill.pipeline.training.loop import Training
        from maskmill.pipeline.training.pace import estimated_seconds
        from maskmill.pipeline.training.peers import Alone

        with exact_settings(task.threads):
            training = Training(task, Alone())
            done = training.progress.step
            if not training.progress.ended:
                say(announcement(task, done, estimated_seconds(training)))
            training.run(StepLines(task.steps, done, partial(click.echo, err=True)))

    def threads(self, workers: "Workers", count: int) -> int:
        """The cores of this machine, shared."""
        return shared_cores(count)


def announcement(task: "TrainingTask", done: int, seconds: float) -> str:
    """What there is to do, and how long it will take; ``done`` steps are."""
    pace = f"about {_duration(seconds)}"
    begun = f", from step {done + 1}" if done else ""
    workers = f"{task.workers} workers with " if task.workers > 1 else ""
    return (
        f"{count_of(task.samples, 'picture')}, {count_of(task.epochs, 'epoch')} of "
        f"{count_of(task.steps_per_epoch, 'step')}{begun} on {workers}{task.device} in "
        f"{task.precision}: {pace}"
    )


class StepLines:
    """Loss, rate and time left, a line now and then; a line per validation."""

    def __init__(self, steps: int, done: int, say: "Callable[[str], None]") -> None:
        self._say = say
        self._steps, self._first, self._started = steps, done, time.monotonic()
        self._told = self._started

    def __call__(self, row: dict[str, Any]) -> None:
        """Tell of a step or a validation."""
        if "miou" in row:
            loss = "" if row["loss"] is None else f", loss {row['loss']:.3f}"
            value = "none" if row["miou"] is None else f"{row['miou']:.4f}"
            self._say(f"finetune: epoch {row['epoch']}{loss}, mIoU {value}")
        elif time.monotonic() - self._told >= LINE_SECONDS:
            self._told = time.monotonic()
            pace = (self._told - self._started) / (row["step"] - self._first)
            left = _duration(pace * (self._steps - row["step"]))
            self._say(
                f"finetune: step {row['step']:,} of {self._steps:,}, loss {row['loss']:.3f}, rate "
                f"{row['rate']:.2g}, {left} left"
            )


def _duration(seconds: float) -> str:
    if seconds < LONG_SECONDS:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < LONG_SECONDS else f"{minutes / 60:.1f} h"
