"""Fused views against an average taken pixel by pixel, and windows against the whole picture."""

import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.labelling.averages import View, average_probabilities, place, strips
from maskmill.pipeline.labelling.confidence import grid_confidence, grid_probabilities
from maskmill.pipeline.labelling.fusion import fuse, fuse_argmax, grid_step
from maskmill.pipeline.labelling.upsample import sample_bilinear, upsample_argmax
from maskmill.pipeline.views.geometry import AxisMap, onto_grid, resized
from maskmill.pipeline.views.tiling import plan_windows
from tests.pipeline.labelling.fused_views import (
    assert_highest,
    average_by_upsampling,
    probabilities,
    view_of,
)


@st.composite
def view_sets(draw):
    """Views of one picture at several scales, flips and weights, some of them in windows."""
    size = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    classes = draw(st.integers(2, 9))
    windows = [None]
    if draw(st.booleans()):
        windows = plan_windows(size, draw(st.integers(20, 60)), draw(st.floats(0, 0.6)))
    kinds = draw(
        st.lists(
            st.tuples(st.integers(2, 90), st.integers(1, 12), st.booleans(), st.floats(0.1, 4)),
            min_size=1,
            max_size=3,
        )
    )
    seed = draw(st.integers(0, 2**31))
    views = []
    for window in windows:
        for network, points, flip, weight in kinds:
            seed += 1
            shape = size if window is None else (window.height, window.width)
            grid = min(points, network), max(1, min(points - 1, network))
            views.append(
                view_of(
                    seed,
                    classes,
                    shape,
                    (network, network),
                    grid,
                    flip=flip,
                    window=window,
                    weight=weight,
                )
            )
    return views, size


@given(view_sets())
@settings(max_examples=200, deadline=None)
def test_every_pixel_gets_a_class_of_highest_average(case):
    views, size = case
    assert_highest(fuse_argmax(iter(views), size), average_by_upsampling(views, size))


@given(view_sets())
@settings(max_examples=100, deadline=None)
def test_pruned_equals_plain_bit_by_bit_where_views_meet(case):
    views, size = case
    placed = [place(view, size) for view in views]
    sums, _ = average_probabilities(placed, np.arange(size[0]), np.arange(size[1]))
    covered = sum(
        (view.window is None) * np.ones(size, int)
        if view.window is None
        else np.pad(
            np.ones((view.window.height, view.window.width), int),
            (
                (view.window.top, size[0] - view.window.top - view.window.height),
                (view.window.left, size[1] - view.window.left - view.window.width),
            ),
        )
        for view in views
    )
    several = covered > 1
    assert np.array_equal(fuse_argmax(views, size)[several], sums.argmax(axis=0)[several])


def test_scales_and_flips_at_a_real_size():
    size = (480, 640)
    views = [
        view_of(k, 21, size, (int(385 * s), int(513 * s)), (int(49 * s), int(65 * s)), flip=flip)
        for k, (s, flip) in enumerate([(s, f) for s in (0.5, 1.0, 1.75) for f in (False, True)])
    ]
    mask = fuse_argmax(views, size)
    assert len(np.unique(mask)) > 3
    assert_highest(mask, average_by_upsampling(views, size))


def test_one_view_is_plain_upsampling_of_its_probabilities():
    view = view_of(1, 7, (200, 300), (257, 257), (33, 33))
    expected = upsample_argmax(view.probabilities, view.rows, view.cols, (200, 300))
    assert np.array_equal(fuse_argmax([view], (200, 300)), expected)


def test_a_view_and_its_mirror_image_are_as_the_view():
    """A network that treats both sides alike: the flipped view repeats the first."""
    size = (90, 120)
    plain = view_of(3, 6, size, (120, 120), (31, 31))
    mirrored = view_of(3, 6, size, (120, 120), (31, 31), flip=True)
    mirrored = View(plain.probabilities[:, :, ::-1].copy(), mirrored.rows, mirrored.cols)
    assert (fuse_argmax([plain, mirrored], size) != fuse_argmax([plain], size)).mean() < 1e-3


class PointwiseNetwork(torch.nn.Module):
    """A 1x1 network: logits of a pixel from that pixel alone, at full resolution."""

    def __init__(self, classes=7):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(classes, 3, 1, 1, generator=generator) * 0.05

    def forward(self, image):
        pixels = torch.tensor(np.ascontiguousarray(image), dtype=torch.float32)
        return functional.conv2d(pixels.permute(2, 0, 1)[None] - 128, self.weight)[0].numpy()


def windowed_views(image, network, window, overlap):
    for part in plan_windows(image.shape[:2], window, overlap):
        logits = network(image[part.slices])
        maps = [onto_grid(resized(n, n), n, n, "half_pixel") for n in (part.height, part.width)]
        yield View(grid_probabilities(logits), *maps, window=part)


@pytest.mark.parametrize("window, overlap", [(128, 0.25), (100, 0.5), (77, 0.0), (64, 0.7)])
def test_windows_on_a_pointwise_network_are_seamless(shared, window, overlap):
    from PIL import Image

    image = np.asarray(Image.open(shared / "data" / "voc" / "2011_000003.jpg").convert("RGB"))
    image = image[:270, :310]
    network, size = PointwiseNetwork(), image.shape[:2]
    untiled = grid_probabilities(network(image))
    placed = (place(view, size) for view in windowed_views(image, network, window, overlap))
    for strip in strips(placed, size[0]):
        ys = np.arange(strip.top, strip.bottom)
        values, total = average_probabilities(strip.views, ys, np.arange(size[1]))
        assert np.abs(total - 1).max() < 1e-6
        assert np.abs(values / total - untiled[:, ys]).max() < 1e-5
    mask = fuse_argmax(windowed_views(image, network, window, overlap), size)
    assert_highest(mask, untiled.astype(np.float64), slack=2e-5)


def test_confidence_of_one_view_is_that_of_its_grid():
    """One pixel per grid point: the lattice is the grid."""
    logits = np.random.default_rng(0).normal(size=(5, 24, 31)).astype(np.float32) * 3
    maps = [onto_grid(resized(n, n), n, n, "half_pixel") for n in (24, 31)]
    assert grid_step(*maps) == (1, 1)
    fused = fuse([View(grid_probabilities(logits), *maps)], (24, 31), step_hw=(1, 1))
    expected = grid_confidence(logits)
    np.testing.assert_allclose(fused.confidence.top1, expected.top1, atol=1e-5)
    for name in ("mean_confidence", "mean_entropy", "mean_margin", "low_confidence_fraction"):
        assert getattr(fused.confidence, name) == pytest.approx(getattr(expected, name), abs=1e-5)
    np.testing.assert_allclose(
        fused.confidence.class_confidence, expected.class_confidence, atol=1e-5
    )


def test_confidence_of_an_average_of_windows():
    size = (150, 190)
    views = [
        view_of(k, 4, (part.height, part.width), (65, 65), (9, 9), window=part)
        for k, part in enumerate(plan_windows(size, 80, 0.3))
    ]
    fused = fuse(views, size, step_hw=(7, 5))
    assert np.array_equal(fused.mask, fuse_argmax(views, size))
    average = average_by_upsampling(views, size)
    points = average[:, 3::7, 2::5]
    np.testing.assert_allclose(fused.confidence.top1, points.max(axis=0), atol=1e-5)
    assert fused.confidence.mean_confidence == pytest.approx(points.max(axis=0).mean(), abs=1e-5)
    # Read back at the lattice's own pixels, the map gives the lattice.
    top1 = sample_bilinear(fused.confidence.top1, fused.rows, fused.cols, size)
    np.testing.assert_allclose(top1[3::7, 2::5], fused.confidence.top1, atol=1e-5)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_a_threshold_on_the_average(threshold):
    size = (60, 80)
    views = [view_of(k, 2, size, (90, 90), (9, 11), flip=bool(k), weight=k + 1) for k in range(2)]
    average = average_by_upsampling(views, size)[1]
    mask = fuse_argmax(views, size, threshold=threshold)
    clear = np.abs(average - threshold) > 1e-5
    assert np.array_equal(mask[clear], (average > threshold)[clear].astype(np.uint8))
    assert 0 < mask.mean() < 1
    fused = fuse(views, size, threshold=threshold, step_hw=(1, 1))
    np.testing.assert_allclose(fused.confidence.top1, np.maximum(average, 1 - average), atol=1e-5)


def test_views_are_let_go_when_passed():
    """A tall picture from a generator: memory as for a few windows, not for all."""
    size, classes = (6000, 300), 21

    def views():
        for part in plan_windows(size, 300, 0.2):
            yield view_of(0, classes, (300, 300), (512, 512), (128, 128), window=part)

    one = classes * 128 * 128 * 4
    tracemalloc.start()
    fuse_argmax(views(), size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(plan_windows(size, 300, 0.2)) == 25
    assert peak < size[0] * size[1] + 16 * one


def test_views_that_cannot_be_fused_are_refused():
    size = (40, 50)
    whole = view_of(0, 3, size, (33, 33), (5, 5))
    parts = plan_windows(size, 25, 0.2)
    tiles = [view_of(1, 3, (25, 25), (33, 33), (5, 5), window=part) for part in parts]
    with pytest.raises(ValueError, match="no view covers"):
        fuse_argmax([], size)
    with pytest.raises(ValueError, match="no view covers the columns"):
        fuse_argmax(tiles[:-1], size)
    with pytest.raises(ValueError, match="no view covers"):
        fuse_argmax(tiles[:2], size)
    with pytest.raises(ValueError, match="order"):
        fuse_argmax([*tiles, tiles[0]], size)
    with pytest.raises(ValueError, match="numbers of classes"):
        fuse_argmax([whole, view_of(0, 4, size, (33, 33), (5, 5))], size)
    with pytest.raises(ValueError, match="leaves the picture"):
        fuse_argmax(tiles, (30, 50))
    with pytest.raises(ValueError, match="do not fit"):
        fuse_argmax([view_of(0, 256, size, (33, 33), (5, 5))] * 2, size)
    with pytest.raises(ValueError, match="for two"):
        fuse_argmax([whole], size, threshold=0.3)
    for wrong in (-0.1, np.nan, np.inf):
        bad = whole.probabilities.copy()
        bad[1, 2, 3] = wrong
        with pytest.raises(ValueError, match="negative, NaN or infinite"):
            fuse_argmax([View(bad, whole.rows, whole.cols)], size)
    with pytest.raises(ValueError, match="weight"):
        fuse_argmax([View(whole.probabilities, whole.rows, whole.cols, weight=0.0)], size)
    with pytest.raises(ValueError, match="step"):
        fuse([whole], size, step_hw=(0, 1))


def test_many_classes_need_uint16():
    size = (40, 50)
    views = [view_of(k, 300, size, (33, 33), (5, 5)) for k in range(2)]
    mask = fuse_argmax(views, size, dtype=np.uint16)
    assert mask.dtype == np.uint16
    assert_highest(mask, average_by_upsampling(views, size))


def test_a_map_that_leaves_the_grid_is_refused():
    grid = probabilities(0, 3, 5, 5)
    axis = AxisMap(0.1, 0.0, 0.0, 5.0)
    with pytest.raises(ValueError, match="outside a grid"):
        fuse_argmax([View(grid, axis, axis)], (20, 20))


def test_rounding_may_make_equal_what_differed_on_the_grids():
    """Even planes one unit in the last place apart: the sum of two views rounds some equal."""
    size = (120, 120)
    low = np.float32(0.1)
    planes = np.stack(
        [np.full((3, 3), value, np.float32) for value in (low, np.nextafter(low, np.float32(1)))]
    )
    views = [
        View(planes, *[onto_grid(resized(120, 120), 120, 3, "half_pixel")] * 2, weight=weight)
        for weight in (0.3, 0.7)
    ]
    sums, _ = average_probabilities(
        [place(view, size) for view in views], np.arange(120), np.arange(120)
    )
    plain = sums.argmax(axis=0)
    assert set(np.unique(plain)) == {0, 1}
    assert np.array_equal(fuse_argmax(views, size), plain)
