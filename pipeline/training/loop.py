"""The loop: steps, validations and checkpoints; what is done depends on the step number alone.

Chance is drawn anew from the seed at every step (order, augmentation, dropout), so a checkpoint
needs no generator's state: the step is the position of them all.
"""

import math
import time
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from maskmill.pipeline.models.precision import DTYPES
from maskmill.pipeline.models.weights.staging import local_weights
from maskmill.pipeline.training.augmentation import Augmentation
from maskmill.pipeline.training.batch_norm import set_batch_norm, synchronise
from maskmill.pipeline.training.batches import (
    Batch,
    BatchMaker,
    Sampler,
    batches_ahead,
    seed_of,
)
from maskmill.pipeline.training.checkpoint import (
    Progress,
    State,
    drop_stale,
    load_checkpoint,
    save_checkpoint,
    save_kept,
    write_steps,
    write_validation,
)
from maskmill.pipeline.training.events import Tell, telling
from maskmill.pipeline.training.gridding import logits_at
from maskmill.pipeline.training.kept_epoch import Keeper
from maskmill.pipeline.training.losses import Loss
from maskmill.pipeline.training.network import beginning
from maskmill.pipeline.training.optimization import WeightAverage, optimizer_of
from maskmill.pipeline.training.pairs import PairReader, ReducedPairs
from maskmill.pipeline.training.peers import Peers
from maskmill.pipeline.training.schedule import rate_factor
from maskmill.pipeline.training.task import Entries, TrainingTask
from maskmill.pipeline.training.validation import Monitor, Validator, summed
from maskmill.schemas.errors import FileFailure, RunFailed
from maskmill.schemas.text import count_of

CHECKPOINT_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Stepped:
    """What one step was: figures of STEPS."""

    loss: float
    rate: float
    norm: float
    pixels: int


class Training:
    """A training, from its last checkpoint or from the beginning. ``progress`` is where it stands.

    Raises:
        ModelError, SettingsError: as :func:`network.beginning`.
        RunFailed: a checkpoint that cannot be read.
    """

    def __init__(self, task: TrainingTask, peers: Peers) -> None:
        self.task, self.peers, recipe = task, peers, task.recipe
        weights = local_weights(task.layout, task.choice.weights_path)
        begun = beginning(task.choice, weights, task.spec, task.labels, recipe.seed)
        self.network = begun.network.to(task.device).to(memory_format=torch.channels_last)
        self.average = WeightAverage(self.network, recipe.average) if recipe.average else None
        self.optimizer = optimizer_of(task, self.network)
        self.scaler = torch.amp.GradScaler(task.device, enabled=task.precision == "fp16")
        found = load_checkpoint(task.layout, task.fingerprint)
        self.progress = found[0] if found else Progress()
        if found:
            self._restore(found[1])
        if peers.rank == 0:
            drop_stale(task.layout, self.progress)
        if task.batch_norm == "sync":
            synchronise(self.network, peers.gather)  # the average has no part in it
        self.replica = peers.wrapped(self.network)
        self.monitor = Monitor(text=recipe.monitor, labels=task.labels)
        self.keeper = Keeper(self.monitor, recipe.keep, task.layout)
        self._rows: list[dict[str, Any]] = []
        self._saved_at = time.monotonic()

    def run(self, tell: Tell) -> Progress:
        """Every step that is still to do; the progress at the end.

        Raises:
            RunFailed: the loss is no number any more, or a sample can no longer be read.
        """
        try:
            with telling(self.task, self.progress, self.peers.rank, tell) as told:
                if not self.progress.history:
                    self._validate(0, told)
                if not self.progress.ended:
                    self._steps(told)
        except FileFailure as failure:
            raise RunFailed(
                f"{failure}. It could be read before the first step: put it back and give the same "
                "command again, it continues"
            ) from failure
        return self.progress

    def _steps(self, tell: Tell) -> None:
        task = self.task
        # On a GPU the cores are free for pictures; on cores they are the network's.
        threads = task.threads if task.device == "cuda" else 1
        batches = batches_ahead(self._maker(), self.progress.step, task.steps, threads=threads)
        while not self.progress.ended:
            started = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                break
            waited = time.perf_counter() - started
            done = self._step(batch)
            self._count(done, waited, time.perf_counter() - started, tell)
            if self.progress.step % task.steps_per_epoch == 0:
                self._validate(self.progress.step // task.steps_per_epoch, tell)
            elif time.monotonic() - self._saved_at >= CHECKPOINT_SECONDS:
                self._save()

    def _maker(self) -> BatchMaker:
        task, recipe, rule = self.task, self.task.recipe, self.task.spec.preprocessing
        entries = Entries(task.layout, "train")
        return BatchMaker(
            sampler=Sampler(samples=len(entries), batch_size=recipe.batch_size, seed=recipe.seed),
            entries=entries,
            pairs=ReducedPairs(self._reader(), rule, recipe.scales[1]),
            augmentation=Augmentation(
                preprocessing=rule,
                crop=task.crop,
                scales=recipe.scales,
                flip=recipe.flip,
                jitter=recipe.jitter,
            ),
            ignore=task.labels.ignore_index,
            rank=self.peers.rank,
            world=self.peers.world,
        )

    def _reader(self) -> PairReader:
        recipe = self.task.recipe
        return PairReader(plan=self.task.data, resize=recipe.resize, max_pixels=recipe.max_pixels)

    def _step(self, batch: Batch) -> Stepped:
        """Forward, backward, and a step of the optimiser.

        Raises:
            RunFailed: the loss or a gradient is no number any more.
        """
        task, step = self.task, self.progress.step
        torch.manual_seed(seed_of(task.recipe.seed, "dropout", step, self.peers.rank))
        set_batch_norm(self.network, task.batch_norm)
        rate = task.learning_rate * rate_factor(
            step,
            task.steps,
            schedule=task.recipe.schedule,
            power=task.recipe.power,
            warm_up=task.warm_up,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)
        loss, pixels = self.loss_of(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._diverged("the loss", value, step)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        norm = float(
            nn.utils.clip_grad_norm_(self.network.parameters(), task.recipe.clip or math.inf)
        )
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            raise self._diverged("the gradient", norm, step)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.network, step)
        return Stepped(value, rate, norm, pixels)

    def loss_of(self, batch: Batch) -> tuple[Tensor, int]:
        """The loss of the whole batch, and its pixels that are not ignored."""
        task = self.task
        images = batch.images.to(task.device, non_blocking=True)
        truth = batch.truth.to(task.device, non_blocking=True)
        dtype = DTYPES[task.precision]
        with torch.autocast(task.device, dtype, enabled=dtype != torch.float32):
            logits = self.replica(images)
        full = logits_at(logits.float(), (truth.shape[1], truth.shape[2]), task.spec.alignment)
        weights = task.class_weights
        loss = Loss(
            task.recipe.loss, None if weights is None else torch.tensor(weights, device=task.device)
        )
        return loss(full, truth, task.labels.ignore_index, self.peers.gather)

    def _diverged(self, what: str, value: float, step: int) -> RunFailed:
        found = self.progress.kept
        kept = (
            f"The weights of epoch {found['epoch']} are kept"
            if found
            else "No epoch was finished: there are no weights to keep"
        )
        return RunFailed(
            f"{what} became {value} at step {step + 1}, rate {self.task.learning_rate:g}: training "
            f"stops here. {kept}. Begin again in another folder with a lower --learning-rate (half "
            "of it, say), or with --clip 1 where it was switched off"
        )

    def _count(self, done: Stepped, waited: float, seconds: float, tell: Tell) -> None:
        progress, task = self.progress, self.task
        epoch = progress.step // task.steps_per_epoch + 1
        progress.step += 1
        progress.loss_sum += done.loss
        progress.loss_steps += 1
        row = {
            "step": progress.step,
            "epoch": epoch,
            "loss": done.loss,
            "rate": done.rate,
            "gradient_norm": done.norm,
            "valid_pixels": done.pixels,
            "images": task.recipe.batch_size,
            "wait_ms": waited * 1000,
            "step_ms": seconds * 1000,
        }
        self._rows.append(row)
        tell(row)

    def _validate(self, epoch: int, tell: Tell) -> None:
        """Count the masks of the validation pictures, keep the weights or not, and save."""
        task, progress, peers = self.task, self.progress, self.peers
        network = self.average.network if self.average is not None else self.network
        peers.level(network.eval())
        validator = Validator(
            spec=task.spec,
            labels=task.labels,
            pairs=self._reader(),
            device=task.device,
            precision=task.precision,
        )
        mine = Entries(task.layout, "validate")[peers.rank :: peers.world]
        rows = peers.collect(list(validator.rows(network, mine, epoch, progress.step)))
        rows.sort(key=lambda row: row["image_id"])
        totals = validator.totals(summed(rows, len(task.labels.classes)))
        loss = progress.loss_sum / progress.loss_steps if progress.loss_steps else None
        entry = {"epoch": epoch, "step": progress.step, "loss": loss, **self.monitor.told(totals)}
        progress.history.append(entry)
        progress.loss_sum, progress.loss_steps = 0.0, 0
        if epoch and self.keeper.is_kept(entry, rows, progress):
            progress.kept = entry
            if peers.rank == 0:
                save_kept(task.layout, progress.step, network.state_dict())
        self._end()
        if peers.rank == 0:
            write_validation(task.layout, epoch, rows)
        self._save()
        tell(entry)

    def _end(self) -> None:
        task, progress = self.task, self.progress
        if progress.step >= task.steps:
            progress.ended = count_of(task.epochs, "epoch is", "epochs are") + " done"
        elif task.recipe.patience and progress.stale_epochs >= task.recipe.patience:
            progress.ended = f"no better epoch among the last {task.recipe.patience}"

    def _save(self) -> None:
        if self.peers.rank == 0:
            write_steps(self.task.layout, self._rows)
            save_checkpoint(self.task.layout, self.task.fingerprint, self.progress, self._tensors())
            drop_stale(self.task.layout, self.progress)
        self._rows = []
        self._saved_at = time.monotonic()

    def _tensors(self) -> State:
        return {
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def _restore(self, tensors: State) -> None:
        self.network.load_state_dict(tensors["network"])
        if self.average is not None:
            self.average.network.load_state_dict(tensors["average"])
        self.optimizer.load_state_dict(tensors["optimizer"])
        self.scaler.load_state_dict(tensors["scaler"])
