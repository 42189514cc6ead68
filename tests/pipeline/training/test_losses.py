"""Losses, schedule and class weights against PyTorch, others' programs and numbers done by hand."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from maskmill.pipeline.training.class_weights import class_weights
from maskmill.pipeline.training.losses import (
    Loss,
    cross_entropy_sums,
    dice_loss,
    dice_sums,
)
from maskmill.pipeline.training.schedule import rate_factor
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap

IGNORE = 255
LABELS = LabelMap.from_names("three", ("background", "cat", "dog"))


def batch(classes: int = 3, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((2, classes, 9, 7), generator=generator, requires_grad=True)
    truth = torch.randint(0, classes, (2, 9, 7), generator=generator)
    truth[0, :2] = IGNORE
    return logits, truth


@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 1.5)])
def test_cross_entropy_is_pytorchs(weights) -> None:
    logits, truth = batch()
    given = None if weights is None else torch.tensor(weights)
    value, pixels = Loss("ce", given)(logits, truth, IGNORE)
    assert torch.isclose(value, F.cross_entropy(logits, truth, given, ignore_index=IGNORE))
    assert pixels == int((truth != IGNORE).sum())


def test_dice_is_that_of_segmentation_models_pytorch() -> None:
    losses = pytest.importorskip("segmentation_models_pytorch").losses
    logits, truth = batch()
    # Its smoothing is added to the overlap, which counts twice: half of ours is the same.
    other = losses.DiceLoss("multiclass", smooth=0.5, ignore_index=IGNORE, eps=0.0)
    assert torch.isclose(dice_loss(dice_sums(logits, truth, IGNORE)), other(logits, truth))


def test_dice_by_hand() -> None:
    """Two pixels; probabilities ¼, ¾ and ½, ½; truth 1 and 0; a class that is not there."""
    logits = torch.tensor([[0.25, 0.5], [0.75, 0.5], [0.0, 0.0]]).log().view(1, 3, 1, 2)
    sums = dice_sums(logits, torch.tensor([[[1, 0]]]), IGNORE)
    shared, sizes = [0.5, 0.75, 0.0], [0.75 + 1, 1.25 + 1, 0.0]
    assert sums[0].tolist() == pytest.approx(shared) and sums[1].tolist() == pytest.approx(sizes)
    expected = 1 - ((2 * 0.5 + 1) / (1.75 + 1) + (2 * 0.75 + 1) / (2.25 + 1)) / 2
    assert float(dice_loss(sums)) == pytest.approx(expected)


def test_dice_bce_is_binary_cross_entropy_plus_dice_of_the_foreground() -> None:
    logits, truth = batch(classes=2)
    margin, valid = logits[:, 1] - logits[:, 0], truth != IGNORE
    entropy = F.binary_cross_entropy_with_logits(margin[valid], truth[valid].float())
    chance = margin.sigmoid()[valid]
    target = truth[valid].float()
    dice = 1 - (2 * (chance * target).sum() + 1) / (chance.sum() + target.sum() + 1)
    value, _ = Loss("dice_bce")(logits, truth, IGNORE)
    assert torch.isclose(value, entropy + dice)


@pytest.mark.parametrize("name", ["ce", "dice_ce", "dice_bce"])
def test_what_two_workers_add_up_is_the_loss_of_the_whole_batch(name) -> None:
    """``gather`` here is what a group of workers does: it adds the other half's sums."""
    logits, truth = batch(classes=2)
    weights = torch.tensor((0.5, 2.0)) if name == "ce" else None
    whole, pixels = Loss(name, weights)(logits, truth, IGNORE)
    sent: list[torch.Tensor] = []
    Loss(name, weights)(logits[1:], truth[1:], IGNORE, lambda sums: sent.append(sums) or sums)
    half, counted = Loss(name, weights)(logits[:1], truth[:1], IGNORE, lambda own: own + sent[0])
    assert torch.isclose(half, whole) and counted == pixels


@pytest.mark.parametrize("name", ["ce", "dice_ce"])
def test_a_batch_without_anything_to_learn_from_moves_nothing(name) -> None:
    logits, truth = batch()
    value, pixels = Loss(name)(logits, torch.full_like(truth, IGNORE), IGNORE)
    value.backward()
    assert value == 0 and pixels == 0 and not logits.grad.any()


def test_sums_of_ignored_pixels_are_nothing() -> None:
    logits, truth = batch()
    other = logits.detach().clone()
    other[0, :, :2] = 50.0  # under ignored pixels
    assert torch.equal(dice_sums(logits, truth, IGNORE), dice_sums(other, truth, IGNORE))
    assert torch.equal(*(cross_entropy_sums(one, truth, IGNORE) for one in (logits, other)))


def test_a_loss_of_another_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="ce, dice_ce, dice_bce"):
        Loss("focal")


def test_poly_is_pytorchs() -> None:
    total = 20
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=total, power=0.9)
    for step in range(total):
        assert rate_factor(step, total) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_warm_up_by_hand() -> None:
    factors = [rate_factor(step, 10, schedule="constant", warm_up=4) for step in range(6)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert rate_factor(1, 10, power=2.0, warm_up=4) == pytest.approx(0.9**2 * 0.5)


def test_steps_and_schedules_that_are_none() -> None:
    with pytest.raises(ValueError, match="step 10"):
        rate_factor(10, 10)
    with pytest.raises(SettingsError, match="poly, constant"):
        rate_factor(0, 10, schedule="cosine")


def test_median_frequency_by_hand() -> None:
    """100 pixels of background in 200 valid ones, 50 of cat in the 100 of its one mask, no dog."""
    pixels, seen_in = np.array([150, 50, 0]), np.array([200, 100, 0])
    weights = class_weights("median", pixels, seen_in, LABELS)
    frequency = np.array([150 / 200, 50 / 100])
    expected = np.median(frequency) / frequency
    assert weights[:2] == pytest.approx(expected / expected.mean()) and weights[2] == 1


def test_inverse_frequency_by_hand() -> None:
    weights = class_weights("inverse", np.array([150, 50, 0]), np.array([200, 100, 0]), LABELS)
    assert weights.tolist() == pytest.approx([0.5, 1.5, 1.0])
    assert class_weights("none", np.array([1]), np.array([1]), LABELS) is None


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"background": 1, "cat": 2}, "one weight for each of background, cat, dog"),
        ({"background": 1, "cat": 2, "dog": "much"}, "no number"),
        ({"background": 1, "cat": 2, "dog": -1}, "0 or more"),
        ({"background": 0, "cat": 0, "dog": 0}, "not all of them 0"),
    ],
)
def test_weights_of_a_file(tmp_path, document, sentence) -> None:
    path = tmp_path / "weights.json"
    path.write_text(json.dumps({"background": 1, "cat": 2.5, "dog": 0}))
    ones = np.ones(3, dtype=np.int64)
    assert class_weights(str(path), ones, ones, LABELS).tolist() == [1.0, 2.5, 0.0]
    path.write_text(json.dumps(document))
    with pytest.raises(SettingsError, match=sentence):
        class_weights(str(path), ones, ones, LABELS)


def test_a_file_of_weights_that_is_not_there() -> None:
    with pytest.raises(SettingsError, match="none, inverse, median"):
        class_weights("mean", np.ones(3), np.ones(3), LABELS)
