"""What a step learns from: who is in it, how pictures are cut, and that chance is repeatable."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.training.augmentation import Augmentation
from maskmill.pipeline.training.batches import Batch, BatchMaker, Sampler, batches_ahead, seeded
from maskmill.pipeline.training.gridding import logits_at
from maskmill.pipeline.training.pairs import Pair, nearest
from maskmill.pipeline.views.preprocessing import Preprocessing

RULE = Preprocessing(resize="longest_side", size=64, pad=True)


def augmentation(**settings) -> Augmentation:
    values = {"crop": 48, "scales": (0.5, 2.0), "flip": True, "jitter": 0.0, **settings}
    return Augmentation(preprocessing=RULE, **values)


def told_by_colour(height: int, width: int) -> Pair:
    """A picture whose red says the class of the mask, in blocks of 8 pixels."""
    blocks = np.random.default_rng(3).integers(0, 4, (-(-height // 8), -(-width // 8)))
    mask = np.kron(blocks, np.ones((8, 8), dtype=int))[:height, :width].astype(np.uint8)
    pixels = np.stack([mask * 60, mask * 0, mask * 0], axis=2).astype(np.uint8)
    return Pair(pixels, mask)


@given(st.integers(1, 40), st.integers(1, 12))
@settings(max_examples=30)
def test_an_epoch_sees_every_sample(samples: int, batch_size: int) -> None:
    sampler = Sampler(samples=samples, batch_size=batch_size, seed=5)
    steps = sampler.steps_per_epoch
    seen = [place for step in range(steps) for place in sampler.of_step(step)]
    assert set(seen) == set(range(samples)) and len(seen) == steps * batch_size
    assert sampler.position(steps).epoch == 2 and sampler.position(steps).batch == 0


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    sampler = Sampler(samples=50, batch_size=50, seed=1)
    orders = [sampler.of_step(0), sampler.of_step(1)]
    orders.append(Sampler(samples=50, batch_size=50, seed=2).of_step(0))
    assert len({tuple(one) for one in orders}) == 3
    assert Sampler(samples=50, batch_size=50, seed=1).of_step(0) == orders[0]


@pytest.mark.parametrize("size_hw", [(40, 64), (100, 70), (17, 200)])
def test_picture_and_mask_stay_together(size_hw) -> None:
    """Where the colour is that of one class, the mask says that class, whatever was done."""
    pair = told_by_colour(*size_hw)
    for seed in range(20):
        pixels, mask = augmentation()(pair, seeded(seed))
        assert pixels.shape[1:] == mask.shape and max(mask.shape) <= 48
        red = pixels[0].to(torch.int64)
        pure = red % 60 == 0  # bilinear mixes lie between two classes, mostly
        agrees = (red[pure] // 60 == mask[pure]).float().mean()
        assert agrees > 0.9, (seed, float(agrees))


def test_without_scaling_and_flipping_the_pixels_are_the_pictures() -> None:
    pair = told_by_colour(32, 64)
    same = augmentation(scales=(1.0, 1.0), flip=False, crop=64)
    pixels, mask = same(pair, seeded(0))
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), pair.pixels)
    assert np.array_equal(mask.numpy(), pair.mask)


def test_jitter_changes_the_picture_and_never_the_mask() -> None:
    pair = told_by_colour(64, 64)
    plain = augmentation(flip=False)(pair, seeded(1))
    other = augmentation(flip=False, jitter=0.5)(pair, seeded(1))
    assert torch.equal(plain[1], other[1]) and not torch.equal(plain[0], other[0])


def maker(rank: int = 0, world: int = 1) -> BatchMaker:
    return BatchMaker(
        sampler=Sampler(samples=10, batch_size=4, seed=0),
        entries=[{"image_id": number} for number in range(10)],
        pairs=lambda entry: told_by_colour(40 + entry["image_id"], 64),
        augmentation=augmentation(),
        ignore=255,
        rank=rank,
        world=world,
    )


def test_workers_share_the_batch_that_one_would_have() -> None:
    whole = maker()(7)
    halves = [maker(rank, 2)(7) for rank in range(2)]
    for name in ("images", "truth"):
        joined = torch.empty_like(getattr(whole, name))
        joined[0::2], joined[1::2] = (getattr(half, name) for half in halves)
        assert torch.equal(joined, getattr(whole, name))


def test_what_the_network_sees_is_normalised_and_padded() -> None:
    batch = maker()(0)
    padded = batch.truth == 255
    assert padded.any() and not batch.images.movedim(1, -1)[padded].any()
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    red = batch.images[:, 0][~padded] * RULE.std[0] + RULE.mean[0]
    assert red.min() >= -1e-3 and red.max() <= 180 + 1e-3


def test_batches_come_in_order_whenever_one_begins() -> None:
    whole = list(batches_ahead(maker(), 0, 6))
    later = list(batches_ahead(maker(), 4, 6))
    assert len(whole) == 6
    assert all(torch.equal(a.images, b.images) for a, b in zip(whole[4:], later, strict=True))


def test_threads_make_batches_side_by_side_and_they_come_in_order() -> None:
    meeting, make = threading.Barrier(4), maker()

    def made_together(step: int) -> Batch:
        meeting.wait(60)
        return make(step)

    together = list(batches_ahead(made_together, 0, 8, threads=4))
    for one, other in zip(together, batches_ahead(make, 0, 8), strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.truth, other.truth)


def test_nearest_takes_the_pixel_under_the_centre() -> None:
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert nearest(mask, (4, 6)).tolist() == np.kron(mask, np.ones((2, 2), int)).tolist()
    assert nearest(nearest(mask, (6, 9)), (2, 3)).tolist() == mask.tolist()


@pytest.mark.parametrize("alignment", ["align_corners", "half_pixel", "legacy"])
def test_training_reads_the_grid_where_labelling_does(alignment) -> None:
    from maskmill.pipeline.labelling.upsample import sample_bilinear
    from maskmill.pipeline.views.geometry import onto_grid, resized

    grid = torch.randn((1, 2, 5, 7), generator=seeded("grid"))
    full = logits_at(grid, (33, 49), alignment)[0].numpy()
    rows, cols = (
        onto_grid(resized(size, size), size, points, alignment)
        for size, points in ((33, 5), (49, 7))
    )
    for channel in range(2):
        expected = sample_bilinear(grid[0, channel].numpy(), rows, cols, (33, 49))
        np.testing.assert_allclose(full[channel], expected, atol=1e-5)
