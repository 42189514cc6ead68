"""What a step of `finetune` costs beside a plain PyTorch loop, and how long it waits for data.

Both in one process with one thread, a step of ours and one of theirs in turn: the same network,
batch, crop and precision. Costs are CPU time of the thread that steps, so other load does not
count; ours has the average of the weights, the clipping and the row of the step in it. Then the
same training goes on alone for the share of waiting. Prints one JSON line.

python benchmarks/training_step.py [STEPS]
"""

import copy
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from made_shapes import write_colored_shapes
from torch import nn

from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.run import run
from maskmill.pipeline.convert.options import conversion_request
from maskmill.pipeline.models.torch_settings import exact_settings
from maskmill.pipeline.runs.stages import Workers
from maskmill.pipeline.training.job import FinetuneJob
from maskmill.pipeline.training.loop import Training
from maskmill.pipeline.training.peers import Alone
from maskmill.pipeline.training.plan import HELD_AS, ModelWanted, Split
from maskmill.pipeline.training.recipe import Recipe
from maskmill.pipeline.training.task import TrainingTask

STEPS = 8
WARM = 2  # the first ones also find memory and kernels
PICTURES = 40


class PlainLoop:
    """What one would write in an afternoon."""

    def __init__(self, network: nn.Module, task: TrainingTask) -> None:
        self.network = copy.deepcopy(network).train()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=task.learning_rate)
        shape = (task.recipe.batch_size, 3, task.crop, task.crop)
        self.images = torch.randn(shape).contiguous(memory_format=torch.channels_last)
        self.truth = torch.randint(0, len(task.labels.classes), (shape[0], *shape[2:]))

    def step(self) -> None:
        """Forward, loss, backward, step."""
        self.optimizer.zero_grad(set_to_none=True)
        logits = self.network(self.images)
        full = F.interpolate(logits, self.truth.shape[1:], mode="bilinear", align_corners=True)
        loss = F.cross_entropy(full, self.truth, ignore_index=255)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        loss.item()


class Turns:
    """Told of each of our steps, takes a plain one; later it only looks on."""

    def __init__(self, plain: PlainLoop, steps: int) -> None:
        self.plain, self.steps = plain, steps
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self.waited = self.alone = 0.0
        self._began = time.thread_time()

    def __call__(self, row: dict[str, Any]) -> None:
        """After a step or a validation."""
        now = time.thread_time()
        if "wait_ms" in row and row["step"] <= self.steps:
            self.ours.append(now - self._began)
            began = time.thread_time()
            self.plain.step()
            self.theirs.append(time.thread_time() - began)
        elif "wait_ms" in row and row["step"] > self.steps + WARM:
            self.waited += row["wait_ms"]
            self.alone += row["step_ms"]
        self._began = time.thread_time()

    def figure(self, task: TrainingTask) -> dict[str, object]:
        """The medians of what was seen."""
        ours, theirs = self.ours[WARM:], self.theirs[WARM:]
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        return {
            "benchmark": "training_step",
            "model": task.choice.title,
            "crop": task.crop,
            "batch": task.recipe.batch_size,
            "steps": len(ratios),
            "cpu_ms": round(1000 * statistics.median(ours), 1),
            "plain_cpu_ms": round(1000 * statistics.median(theirs), 1),
            "ratio": round(statistics.median(ratios), 3),
            "waiting_share": round(self.waited / self.alone, 4),
        }


def job_of(data: Path, out: Path, steps: int, trainer: Any) -> FinetuneJob:
    """A fine-tuning of all defaults but for its length."""
    epochs = -(-2 * steps // (PICTURES * 9 // 10 // 8))
    recipe = Recipe(epochs=epochs, threads=1, precision="fp32")
    return FinetuneJob(
        request=conversion_request(source=str(data), to_format=HELD_AS, from_format="masks"),
        wanted=ModelWanted(), recipe=recipe, split=Split(), out=str(out),
        trainer=trainer, reporter=lambda task, progress, card: None, say=lambda sentence: None,
    )  # fmt: skip


def main() -> None:
    """One line."""
    steps = (int(sys.argv[1]) if len(sys.argv) > 1 else STEPS) + WARM

    def measured(task: TrainingTask, workers: Workers, say: Any) -> None:
        with exact_settings(task.threads):
            training = Training(task, Alone())
            turns = Turns(PlainLoop(training.network, task), steps)
            training.run(turns)
        print(json.dumps(turns.figure(task)), flush=True)

    with tempfile.TemporaryDirectory() as folder:
        data = write_colored_shapes(Path(folder) / "data", PICTURES, 0, (256, 256))
        run(job_of(data, Path(folder) / "out", steps, measured), RunOptions(engine="local"))


if __name__ == "__main__":
    main()
