"""Two workers compute what one does: sums, gradients, batch norm, and a whole training."""

import json

import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.run import run
from maskmill.jobs.training import LocalTrainer
from maskmill.pipeline.convert.conversion import ConversionRequest
from maskmill.pipeline.models.torch_settings import exact_settings
from maskmill.pipeline.training.batch_norm import set_batch_norm, synchronise
from maskmill.pipeline.training.job import FinetuneJob
from maskmill.pipeline.training.loop import Training
from maskmill.pipeline.training.losses import Loss
from maskmill.pipeline.training.peers import Alone
from maskmill.pipeline.training.plan import ModelWanted, Split
from maskmill.pipeline.training.recipe import Recipe
from tests.made_set import write_made_set
from tests.pipeline.training.two_workers import on_two_workers

pytestmark = pytest.mark.thorough  # two processes more, which import PyTorch

IGNORE = 255


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of very different brightness, one of them ignored for the most part."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn((4, 3, 9, 8), generator=generator) + torch.arange(4.0).view(4, 1, 1, 1)
    truth = torch.randint(0, 3, (4, 9, 8), generator=generator)
    truth[0, 1:] = IGNORE
    return images, truth


def network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 3, 1)
    )


def two_steps(peers: object, mode: str, loss: str) -> dict[str, torch.Tensor]:
    """Weights, statistics and the last gradients after two steps on the share of this worker."""
    learner = network()
    if mode == "sync":
        synchronise(learner, peers.gather)
    replica = peers.wrapped(learner)
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.1)
    images, truth = (one[peers.rank :: peers.world] for one in batch())
    for _ in range(2):
        set_batch_norm(learner, mode)
        optimizer.zero_grad()
        Loss(loss)(replica(images), truth, IGNORE, peers.gather)[0].backward()
        optimizer.step()
    gradients = {f"gradient of {name}": one.grad for name, one in learner.named_parameters()}
    return {**learner.state_dict(), **gradients}


def both_modes(peers: object) -> list[dict[str, torch.Tensor]]:
    return [two_steps(peers, "frozen", "dice_ce"), two_steps(peers, "sync", "ce")]


def test_the_loss_of_a_share_is_not_the_mean_of_losses() -> None:
    """The ignored pixels lie in one worker's share: a mean of means would weigh the rest twice."""
    images, truth = batch()
    whole = F.cross_entropy(network()(images), truth, ignore_index=IGNORE)
    halves = [
        F.cross_entropy(network().eval()(images[rank::2]), truth[rank::2], ignore_index=IGNORE)
        for rank in (0, 1)
    ]
    assert not torch.isclose(whole, torch.stack(halves).mean(), rtol=1e-3)


def train_and_compute(peers: object, task: object) -> list[dict[str, torch.Tensor]]:
    with exact_settings(task.threads):
        Training(task, peers).run(lambda row: None)
        return both_modes(peers)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> dict[str, object]:
    """The same training by one worker and by two (run folders), and what two workers computed."""
    data = write_made_set(tmp_path_factory.mktemp("data") / "made", 6)
    found: dict[str, object] = {}

    def train_by_two(task: object, workers: object, say: object) -> None:
        found["computed"] = on_two_workers(train_and_compute, task)

    for workers, trainer in ((1, LocalTrainer()), (2, train_by_two)):
        out = tmp_path_factory.mktemp("out") / "out"
        job = FinetuneJob(
            request=ConversionRequest(source=str(data), from_format="auto", to_format="indexed"),
            wanted=ModelWanted(model="deeplabv3_mobilenetv2_x05_voc", untrained=True),
            recipe=Recipe(
                image_size=65, crop_size=65, batch_size=2, epochs=1, precision="fp32", threads=1
            ),
            split=Split(validation_share=0.4),
            out=str(out),
            trainer=trainer,
            reporter=lambda task, progress, card: None,
            say=lambda sentence: None,
            workers=workers,
        )
        run(job, RunOptions(engine="local"))
        found[str(workers)] = out
    return found


def test_shares_of_two_workers_give_the_gradients_and_statistics_of_the_whole_batch(shared) -> None:
    """Against one worker with torch's own batch norm, which sees the whole batch."""
    alone = [two_steps(Alone(), "frozen", "dice_ce"), two_steps(Alone(), "train", "ce")]
    for found, wanted in zip(shared["computed"], alone, strict=True):
        assert found.keys() == wanted.keys()
        for name, values in wanted.items():
            torch.testing.assert_close(found[name], values, rtol=1e-4, atol=1e-5, msg=name)


def rows_of(out: object, name: str) -> list[dict]:
    return pq.read_table(out / "rows" / name).to_pylist()


def test_step_losses_of_two_workers_are_those_of_one(shared) -> None:
    one, two = (rows_of(shared[str(workers)], "steps") for workers in (1, 2))
    assert [row["step"] for row in two] == [row["step"] for row in one]
    assert [row["valid_pixels"] for row in two] == [row["valid_pixels"] for row in one]
    losses = [[row["loss"] for row in rows] for rows in (one, two)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
    assert losses[0][0] != losses[0][-1]


def test_every_validation_picture_is_counted_once_by_whichever_worker(shared) -> None:
    one, two = (rows_of(shared[str(workers)], "validation") for workers in (1, 2))
    assert [(row["epoch"], row["key"]) for row in two] == [
        (row["epoch"], row["key"]) for row in one
    ]
    one_out, two_out = shared["1"], shared["2"]
    cards = [json.loads((out / "model" / "model.json").read_text()) for out in (one_out, two_out)]
    assert cards[1]["before"] == cards[0]["before"]
