"""--min-confidence against the plain way: all logits at full size, softmax, maximum."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maskmill.pipeline.labelling.averages import View
from maskmill.pipeline.labelling.picture import ignore_unsure, label_picture
from maskmill.pipeline.labelling.pixel_confidence import pixel_confidence
from maskmill.pipeline.labelling.unsure import ignore_below
from maskmill.pipeline.labelling.unsure_views import ignore_below_average
from maskmill.pipeline.labelling.upsample import sample_bilinear, upsample_argmax
from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.segmenter import Segmenter
from maskmill.pipeline.views.geometry import AxisMap, GridView
from maskmill.pipeline.views.plan import ViewSettings, plan_views
from maskmill.pipeline.views.preparation import prepare
from maskmill.pipeline.views.tiling import Window
from tests.pipeline.labelling.fused_views import average_by_upsampling, view_of
from tests.pipeline.labelling.test_upsample import axis_maps, padded_maps, smooth_grid
from tests.thorough import sampled

IGNORE = 255


def plain_top1(grid, rows, cols, size_hw):
    """(H, W) float64: the softmax of every class at every pixel, its maximum."""
    if len(grid) == 1:
        grid = np.concatenate([np.zeros_like(grid), grid])
    values = np.stack([sample_bilinear(plane, rows, cols, size_hw) for plane in grid])
    values = values.astype(np.float64) - values.max(axis=0)
    return 1 / np.exp(values).sum(axis=0)


def assert_ignored(mask, top1, minimum, slack=1e-4):
    """Ignored where the top-1 is below, kept where not; ties within ``slack`` of it apart."""
    apart = np.abs(top1 - minimum) > slack * minimum
    assert np.array_equal((mask == IGNORE)[apart], (top1 < minimum)[apart])
    assert apart.mean() > 0.9 or mask.size < 2000


def many_classes(rng, classes, height, width):
    """A few classes near the top, the others below them by any amount."""
    below = np.sort(rng.exponential(4.0, classes))
    slopes = rng.normal(size=(classes, height, width)) * rng.uniform(0.1, 4)
    return slopes - rng.permutation(below)[:, None, None]


def halfway_classes(grid, classes):
    """The grid's own classes and made ones, each halfway between two of them, less 1."""
    pairs = np.random.default_rng(1).integers(0, len(grid), (2, classes - len(grid)))
    return np.concatenate([grid, (grid[pairs[0]] + grid[pairs[1]]) / 2 - 1])


@st.composite
def unsure_cases(draw):
    """A grid of any character, two maps, a mask size and a minimum."""
    classes, height, width = (draw(st.integers(1, most)) for most in (12, 7, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = classes, height, width
    kind = draw(st.sampled_from(["rough", "smooth", "few", "constant", "peaked", "far", "tail"]))
    grid = {
        "rough": lambda: rng.normal(size=shape) * draw(st.floats(1e-3, 30)),
        "smooth": lambda: smooth_grid(int(rng.integers(1 << 30)), *shape, detail=3),
        "few": lambda: rng.integers(-1, 2, size=shape),
        "constant": lambda: np.full(shape, draw(st.floats(-1e4, 1e4))),
        "peaked": lambda: (
            5 * np.eye(classes)[rng.integers(classes, size=shape[1:])].transpose(2, 0, 1)
        ),
        "far": lambda: rng.normal(size=shape) * 300,
        "tail": lambda: many_classes(rng, draw(st.integers(13, 160)), height, width),
    }[kind]()
    rows, cols = draw(axis_maps(height)), draw(axis_maps(width))
    size = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    minimum = draw(st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.5, 0.9, 0.99, 1.0])))
    return grid.astype(np.float32), rows, cols, size, minimum


@settings(max_examples=300, deadline=None)
@given(unsure_cases())
def test_the_pixels_own_softmax_decides(case):
    grid, rows, cols, size, minimum = case
    mask = np.zeros(size, np.uint8)
    ignore_below(mask, grid, rows, cols, minimum, IGNORE)
    top1 = plain_top1(grid, rows, cols, size)
    apart = np.abs(top1 - minimum) > 1e-4 * minimum
    assert np.array_equal((mask == IGNORE)[apart], (top1 < minimum)[apart])


@pytest.mark.parametrize("minimum", sampled([0.5, 0.3, 0.7, 0.9, 0.99], 3))
@pytest.mark.parametrize(
    ("size", "classes"), [((480, 640), 21), ((1200, 1600), 21), ((240, 320), 150)]
)
def test_like_a_run(size, classes, minimum):
    """The default model's geometry, logits as slow as a network's."""
    grid = smooth_grid(classes, classes, 65, 65, detail=9, amplitude=6.0)
    rows, cols = padded_maps(*size)
    mask = upsample_argmax(grid, rows, cols, size)
    before = mask.copy()
    ignore_below(mask, grid, rows, cols, minimum, IGNORE)
    top1 = plain_top1(grid, rows, cols, size)
    wanted = np.where(top1 < minimum, IGNORE, before)
    assert (mask == wanted).mean() >= 0.9999
    assert_ignored(mask, top1, minimum)
    assert 0.001 < (mask == IGNORE).mean() < 0.999


@pytest.mark.parametrize("classes", [32, 150])
def test_real_logits_of_many_classes(shared, classes):
    """DeepLabv3+ on a photograph: 31 classes and other, as they are and with 118 made ones."""
    spec = MODELS["deeplabv3plus_mobilenetv2_ade20k"]
    weights = shared / "weights" / "deeplabv3_mnv2_ade20k_int8.tflite"
    photograph = shared / "data/ade20k/sampleData/images/ADE_val_00000001.jpg"
    size = 300, 400
    picture = np.array(Image.open(photograph).convert("RGB").resize(size[::-1]))
    segmenter = Segmenter(spec, weights, precision="fp32", threads=1)
    (answer,) = segmenter.forward([prepare(picture, spec.preprocessing)])
    grid = halfway_classes(answer.logits, classes) if classes > 32 else answer.logits
    top1 = plain_top1(grid, answer.rows, answer.cols, size)
    for minimum in (0.3, 0.5, 0.9):
        mask = np.zeros(size, np.uint8)
        ignore_below(mask, grid, answer.rows, answer.cols, minimum, IGNORE)
        assert_ignored(mask, top1, minimum)
        assert ((mask == IGNORE) == (top1 < minimum)).mean() >= 0.9999
        assert 0.001 < (mask == IGNORE).mean() < 0.9


@pytest.mark.parametrize("minimum", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("size", [(90, 120), (1500, 2000)])
def test_many_made_classes(size, minimum):
    """Cells of a pixel and less, and cells large enough to be looked at in parts."""
    grid = halfway_classes(smooth_grid(4, 21, 33, 33, detail=9, amplitude=5.0), 40)
    rows, cols = padded_maps(*size, longest=513, points=33)
    mask = np.zeros(size, np.uint8)
    ignore_below(mask, grid, rows, cols, minimum, IGNORE)
    top1 = pixel_confidence(grid, rows, cols, size)
    assert_ignored(mask, top1, minimum)
    assert ((mask == IGNORE) == (top1 < minimum)).mean() >= 0.9999


def test_the_corners_do_not_stand_for_the_middle():
    """Two sure classes side by side: half way between them the network is not sure at all."""
    grid = np.array([[[4.0, -4.0]], [[-4.0, 4.0]]], np.float32)
    axis = AxisMap(1 / 8, 0.0, 0.0, 1.0)
    mask = np.zeros((1, 9), np.uint8)
    ignore_below(mask, grid, AxisMap(1.0, 0.0, 0.0, 0.0), axis, 0.9, IGNORE)
    assert mask[0].tolist() == [0, 0, 0, IGNORE, IGNORE, IGNORE, 0, 0, 0]


def test_a_run_of_columns_clamped_at_both_ends():
    """Its first and last steps are alike, and those between them are not."""
    grid = np.array([[[0.7, 1.65]]], np.float32)
    cols = AxisMap(-1.0, 2.0, 0.0, 1.0)  # 1, 1, 0, 0
    mask = np.zeros((1, 4), np.uint8)
    ignore_below(mask, grid, AxisMap(1.0, 0.0, 0.0, 0.0), cols, 0.75, IGNORE)
    assert mask[0].tolist() == [0, 0, IGNORE, IGNORE]


def test_memory_does_not_grow_with_the_picture():
    grid = smooth_grid(3, 21, 65, 65, detail=9, amplitude=6.0)
    mask = np.zeros((3000, 4000), np.uint8)
    rows, cols = padded_maps(*mask.shape)
    tracemalloc.start()
    ignore_below(mask, grid, rows, cols, 0.9, IGNORE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (mask == IGNORE).any()
    assert peak < 100e6  # all logits of it are 1 GB


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.floats(0.2, 0.99), st.booleans(), st.sampled_from([2, 5, 12]))
def test_several_views_are_averaged_at_the_pixel(seed, minimum, flip, classes):
    size = 70, 90
    views = [
        view_of(seed, classes, size, (49, 65), (7, 9)),
        view_of(seed + 1, classes, size, (65, 81), (9, 11), flip=flip, weight=0.5),
    ]
    mask = np.zeros(size, np.uint8)
    ignore_below_average(mask, views, minimum, IGNORE)
    top1 = average_by_upsampling(views, size).max(axis=0)
    assert_ignored(mask, top1, minimum)


def test_windows_count_by_their_weights():
    size = 60, 100
    windows = [
        Window(0, 0, np.ones(60, np.float32), np.linspace(1, 0.1, 60, dtype=np.float32)),
        Window(0, 40, np.ones(60, np.float32), np.linspace(0.1, 1, 60, dtype=np.float32)),
    ]
    views = [
        view_of(7 + place, 4, (60, 60), (49, 49), (7, 7), window=window)
        for place, window in enumerate(windows)
    ]
    mask = np.zeros(size, np.uint8)
    ignore_below_average(mask, views, 0.6, IGNORE)
    top1 = average_by_upsampling(views, size).max(axis=0)
    assert_ignored(mask, top1, 0.6)
    assert 0.05 < (mask == IGNORE).mean() < 0.95


@pytest.mark.parametrize("flip", [False, True])
def test_a_labelled_picture_knows_what_it_was_made_of(flip):
    size = 96, 128
    grid = smooth_grid(5, 6, 16, 16, detail=4, amplitude=4.0)
    rows, cols = padded_maps(*size, longest=128, points=16)
    answers = [GridView(grid, rows, cols)]
    if flip:
        answers.append(GridView(smooth_grid(6, 6, 16, 16, detail=4), rows, cols))
    plan = plan_views(size, ViewSettings(flip=flip))
    picture = label_picture(answers, plan, size)
    ignore_unsure(picture, 0.6, IGNORE)
    if flip:
        from maskmill.pipeline.labelling.confidence import grid_probabilities

        views = [View(grid_probabilities(a.grid), a.rows, a.cols) for a in answers]
        top1 = average_by_upsampling(views, size).max(axis=0)
    else:
        top1 = plain_top1(grid, rows, cols, size)
    assert_ignored(picture.mask, top1, 0.6)
