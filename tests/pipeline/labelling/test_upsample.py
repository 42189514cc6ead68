"""Pruned upsampling against the plain one, against PyTorch, and against arithmetic by hand."""

import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maskmill.pipeline.labelling.upsample import sample_bilinear, upsample_argmax, upsample_plain
from maskmill.pipeline.views.geometry import AxisMap, flipped, onto_grid, resized


def smooth_grid(seed, classes, height, width, detail=7, amplitude=8.0):
    """Random logits that vary as slowly over the grid as a network's."""
    coarse = np.random.default_rng(seed).normal(size=(1, classes, detail, detail))
    fine = functional.interpolate(
        torch.tensor(coarse), size=(height, width), mode="bicubic", align_corners=True
    )
    return (fine[0].numpy() * amplitude).astype(np.float32)


def padded_maps(height, width, longest=513, points=65):
    """The default model's geometry: longest side resized, padded, align-corners grid."""
    scale = longest / max(height, width)
    sizes = round(height * scale), round(width * scale)
    rows = onto_grid(resized(height, sizes[0]), longest, points, "align_corners")
    cols = onto_grid(resized(width, sizes[1]), longest, points, "align_corners")
    return rows, cols


def values_by_hand(grid, rows, cols, size_hw):
    """(C, H, W) float64, one pixel after the other, from the definition of bilinear."""
    classes, height, width = grid.shape
    out = np.empty((classes, *size_hw))
    for y, row in enumerate(rows.positions(0, size_hw[0])):
        for x, col in enumerate(cols.positions(0, size_hw[1])):
            total = np.zeros(classes)
            for i in range(height):
                for j in range(width):
                    weight = max(0.0, 1 - abs(row - i)) * max(0.0, 1 - abs(col - j))
                    if weight:
                        total += weight * grid[:, i, j].astype(np.float64)
            out[:, y, x] = total
    return out


@st.composite
def axis_maps(draw, points):
    """Any affine map with clamp on an axis of so many grid points."""
    scale = draw(st.floats(0.005, 6.0)) * draw(st.sampled_from([-1.0, 1.0]))
    offset = draw(st.floats(-2.0 * points, 2.0 * points))
    ends = sorted(draw(st.tuples(*[st.floats(0.0, points - 1.0)] * 2)))
    low, high = draw(st.sampled_from([(0.0, points - 1.0), tuple(ends)]))
    return AxisMap(scale, offset, low, high)


@st.composite
def cases(draw, most_classes=12):
    """A grid (smooth, rough, of few values, or constant), two maps and a mask size."""
    classes = draw(st.integers(1, most_classes))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = classes, height, width
    kind = draw(st.sampled_from(["rough", "smooth", "few", "constant", "peaked", "wide", "close"]))
    grid = {
        "rough": lambda: rng.normal(size=shape) * draw(st.floats(1e-3, 1e3)),
        "smooth": lambda: smooth_grid(int(rng.integers(1 << 30)), *shape, detail=3),
        "few": lambda: rng.integers(-1, 2, size=shape),
        "constant": lambda: np.full(shape, draw(st.floats(-1e6, 1e6))),
        "peaked": lambda: np.eye(classes)[rng.integers(classes, size=shape[1:])].transpose(2, 0, 1),
        "close": lambda: np.float32(0.1) + rng.integers(-2, 3, size=shape) * np.float32(2**-27),
        "wide": lambda: rng.normal(size=shape) * 10.0 ** rng.integers(-38, 37, size=shape),
    }[kind]()
    rows, cols = draw(axis_maps(height)), draw(axis_maps(width))
    size = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    return grid.astype(np.float32), rows, cols, size


@given(cases())
@settings(max_examples=400, deadline=None)
def test_pruned_equals_plain_on_every_pixel(case):
    assert np.array_equal(upsample_argmax(*case), upsample_plain(*case))


@given(cases(most_classes=4))
@settings(max_examples=60, deadline=None)
def test_the_winner_is_a_highest_value_by_hand(case):
    grid, rows, cols, size = case
    values = values_by_hand(grid, rows, cols, (min(size[0], 12), min(size[1], 12)))
    mask = upsample_argmax(grid, rows, cols, values.shape[1:])
    won = np.take_along_axis(values, mask[None].astype(np.intp), axis=0)[0]
    rounding = 1e-6 * np.abs(grid).max() + 1e-37
    assert (values.max(axis=0) - won <= rounding).all()


@pytest.mark.parametrize("alignment", ["align_corners", "half_pixel"])
@pytest.mark.parametrize("size", [(97, 131), (480, 640), (20, 31), (65, 65)])
def test_against_torch_interpolation(alignment, size):
    grid = smooth_grid(3, 21, 33, 49)
    maps = [
        onto_grid(AxisMap(1.0, 0.0, 0.0, pixels - 1.0), pixels, points, alignment)
        for pixels, points in zip(size, grid.shape[1:], strict=True)
    ]
    values = functional.interpolate(
        torch.tensor(grid)[None],
        size=size,
        mode="bilinear",
        align_corners=alignment == "align_corners",
    )[0].numpy()
    mask = upsample_argmax(grid, *maps, size)
    lead = np.diff(np.sort(values, axis=0)[-2:], axis=0)[0]
    differs = mask != values.argmax(axis=0)
    # PyTorch computes positions in float32: only there may a near tie fall the other way.
    assert lead[differs].max(initial=0.0) < 1e-4
    assert differs.mean() < 1e-3


@pytest.mark.parametrize("size", [(480, 640), (333, 500), (3, 700), (1, 1)])
def test_the_default_geometry(size):
    grid = smooth_grid(5, 21, 65, 65)
    maps = padded_maps(*size)
    assert np.array_equal(upsample_argmax(grid, *maps, size), upsample_plain(grid, *maps, size))


def test_agrees_with_float64_but_for_near_ties():
    grid = smooth_grid(8, 21, 65, 65)
    maps, size = padded_maps(480, 640), (480, 640)
    exact = upsample_plain(grid, *maps, size, precision=np.float64)
    assert (upsample_argmax(grid, *maps, size) != exact).mean() < 1e-5


def test_a_mirrored_map_gives_the_mirrored_mask():
    grid = smooth_grid(1, 5, 17, 33)
    rows, cols = padded_maps(90, 180, longest=257, points=17)
    cols = onto_grid(resized(180, 257), 257, 33, "align_corners")
    mirrored = onto_grid(flipped(resized(180, 257), 257), 257, 33, "align_corners")
    mask = upsample_argmax(grid, rows, cols, (90, 180))
    assert len(np.unique(mask)) > 1
    plain = upsample_plain(grid, rows, mirrored, (90, 180))
    assert np.array_equal(upsample_argmax(grid, rows, mirrored, (90, 180)), plain)
    assert (plain[:, ::-1] != mask).mean() < 1e-3


def test_a_window_of_the_map_gives_the_window_of_the_mask():
    grid = smooth_grid(2, 9, 65, 65)
    rows, cols = padded_maps(300, 400)
    whole = upsample_argmax(grid, rows, cols, (300, 400))
    window = upsample_argmax(grid, rows.shifted(37), cols.shifted(101), (120, 90))
    assert (window != whole[37:157, 101:191]).mean() < 1e-4


def test_blocks_beyond_the_longest_run_and_bands_beyond_one():
    few_cells = smooth_grid(4, 6, 3, 4, detail=3)
    maps = [onto_grid(resized(n, 256), 256, k, "half_pixel") for n, k in ((900, 3), (1100, 4))]
    expected = upsample_plain(few_cells, *maps, (900, 1100))
    assert len(np.unique(expected)) > 2
    assert np.array_equal(upsample_argmax(few_cells, *maps, (900, 1100)), expected)
    large = smooth_grid(4, 40, 300, 280, detail=40)
    maps = [onto_grid(resized(n, 512), 512, k, "half_pixel") for n, k in ((333, 300), (410, 280))]
    assert np.array_equal(
        upsample_argmax(large, *maps, (333, 410)), upsample_plain(large, *maps, (333, 410))
    )


@pytest.mark.parametrize("classes", [2, 60])
@pytest.mark.parametrize("levels", [None, 3])
def test_cells_that_are_looked_at_in_parts(classes, levels):
    """Cells of 40 by 61 pixels, 1 and 25 of them; few levels give many equal values."""
    grid = smooth_grid(classes, classes, 6, 6, amplitude=1.0)
    if levels:
        grid = np.round(grid * levels) / levels
    for points in (2, 6):
        part = grid[:, :points, :points]
        rows = AxisMap(1 / 40, 0.01, 0.0, points - 1.0)
        cols = AxisMap(-1 / 61, points - 1.2, 0.0, points - 1.0)
        size = 40 * points, 61 * points
        expected = upsample_plain(part, rows, cols, size)
        np.testing.assert_array_equal(upsample_argmax(part, rows, cols, size), expected)
        assert points == 2 or len(np.unique(expected)) > 1


def test_ties_go_to_the_lowest_class():
    grid = np.zeros((4, 3, 3), dtype=np.float32)
    grid[0] = -1
    maps = [onto_grid(resized(20, 32), 32, 3, "half_pixel")] * 2
    assert (upsample_argmax(grid, *maps, (20, 20)) == 1).all()


def test_a_crossing_lies_where_arithmetic_puts_it():
    grid = np.array([[[0.0, 3.0]], [[1.0, 1.0]]], dtype=np.float32)  # class 0 from a third on
    cols = AxisMap(1 / 30, 0.0, 0.0, 1.0)
    mask = upsample_argmax(grid, AxisMap(1.0, 0.0, 0.0, 0.0), cols, (2, 31))
    assert (mask == (np.arange(31) < 10)).all()


def test_more_classes_than_a_byte_holds():
    grid = smooth_grid(6, 300, 17, 17)
    maps = [onto_grid(resized(n, 128), 128, 17, "align_corners") for n in (70, 90)]
    mask = upsample_argmax(grid, *maps, (70, 90), dtype=np.uint16)
    assert mask.dtype == np.uint16 and mask.max() > 255
    assert np.array_equal(mask, upsample_plain(grid, *maps, (70, 90), dtype=np.uint16))
    with pytest.raises(ValueError, match="300 classes"):
        upsample_argmax(grid, *maps, (70, 90))


def test_real_boundaries(shared):
    """The goldens' masks as logits: one-hot, averaged onto a grid, with close contenders."""
    files = sorted((shared / "weights" / "golden").glob("*/*.labels.png"))
    assert files
    for path in files[:8]:
        labels = np.asarray(Image.open(path))
        classes = int(labels.max()) + 1
        onehot = torch.tensor(np.eye(classes, dtype=np.float32)[labels]).permute(2, 0, 1)[None]
        grid = (functional.interpolate(onehot, size=(65, 65), mode="area")[0] * 9).numpy()
        maps = padded_maps(375, 500)
        mask = upsample_argmax(grid, *maps, (375, 500))
        assert np.array_equal(mask, upsample_plain(grid, *maps, (375, 500)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_grid_that_is_not_finite_is_refused(bad):
    grid = np.zeros((3, 4, 4), dtype=np.float32)
    grid[1, 2, 3] = bad
    axis = AxisMap(0.1, 0.0, 0.0, 3.0)
    with pytest.raises(ValueError, match="NaN or infinity"):
        upsample_argmax(grid, axis, axis, (8, 8))


def test_a_call_that_makes_no_sense_is_refused():
    grid, axis = np.zeros((3, 4, 4), dtype=np.float32), AxisMap(0.1, 0.0, 0.0, 3.0)
    for low, high in ((0.0, 4.0), (-1.0, 3.0), (3.0, 2.0), (np.nan, 3.0)):
        with pytest.raises(ValueError, match="outside a grid of 4 points"):
            upsample_argmax(grid, AxisMap(0.1, 0.0, low, high), axis, (8, 8))
    with pytest.raises(ValueError, match="not finite"):
        upsample_argmax(grid, AxisMap(np.nan, 0.0, 0.0, 3.0), axis, (8, 8))
    with pytest.raises(ValueError, match="1 pixel or more"):
        upsample_argmax(grid, axis, axis, (0, 8))
    with pytest.raises(ValueError, match="classes, height, width"):
        upsample_argmax(grid[0], axis, axis, (8, 8))
    with pytest.raises(ValueError, match="do not fit"):
        upsample_argmax(grid, axis, axis, (8, 8), dtype=np.int64)


def test_memory_beyond_the_mask_is_bounded():
    grid = smooth_grid(9, 150, 65, 65)
    maps = padded_maps(3000, 4000)
    tracemalloc.start()
    upsample_argmax(grid, *maps, (3000, 4000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - 12_000_000 < 40_000_000  # plain: 7,200,000,000


@given(cases(most_classes=1))
@settings(max_examples=60, deadline=None)
def test_one_plane_sampled(case):
    grid, rows, cols, size = case
    size = min(size[0], 12), min(size[1], 12)
    sampled = sample_bilinear(grid[0], rows, cols, size)
    assert sampled.dtype == np.float32
    error = np.abs(sampled - values_by_hand(grid, rows, cols, size)[0])
    assert (error <= 1e-6 * np.abs(grid).max() + 1e-37).all()


def test_a_large_plane_in_bands():
    plane = smooth_grid(7, 1, 65, 65)[0]
    maps = padded_maps(900, 1200)
    # One pixel row per call has no bands: the reference for the seams between them.
    rows = [sample_bilinear(plane, maps[0].shifted(y), maps[1], (1, 1200)) for y in range(900)]
    assert np.abs(sample_bilinear(plane, *maps, (900, 1200)) - np.concatenate(rows)).max() < 1e-5


def test_rounding_may_make_equal_what_differed_on_the_grid():
    """Two even planes one unit in the last place apart: interpolation rounds some pixels equal."""
    low = np.float32(0.1)
    planes = [np.full((2, 2), value, np.float32) for value in (low, np.nextafter(low, 1))]
    maps = [onto_grid(resized(200, 200), 200, 2, "half_pixel")] * 2
    plain = upsample_plain(np.stack(planes), *maps, (200, 200))
    assert set(np.unique(plain)) == {0, 1}  # ties go to class 0: it must not have been dropped
    assert np.array_equal(upsample_argmax(np.stack(planes), *maps, (200, 200)), plain)
