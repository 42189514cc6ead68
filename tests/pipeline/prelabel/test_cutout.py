"""Cutouts: soft edges that follow the picture, subjects left as they are, no colours that bleed."""

import io
import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import maskmill.pipeline.prelabel.cutout as cutout_module
from maskmill.pipeline.prelabel.cutout import (
    GUIDE_SIDE,
    CutoutSettings,
    chosen_classes,
    cut_out,
    edge_ramp,
    foreground_probability,
    without_crumbs,
)
from maskmill.pipeline.prelabel.edge_fit import fit_edges
from maskmill.pipeline.prelabel.writers.registry import ImageOutputs, Output
from maskmill.pipeline.prelabel.writers.registry import outputs_of as writers_of
from maskmill.pipeline.views.geometry import AxisMap, GridView, onto_grid, resized
from maskmill.schemas.errors import ErrorCode, ImageFailure, SettingsError
from maskmill.schemas.labels import LabelMap, builtin

RED, BLUE = np.array([200, 40, 30]), np.array([20, 60, 190])
SUBJECT = LabelMap.from_names("subject", ["background", "subject"])


def cutouts(settings: CutoutSettings) -> Output:
    """The writer of cutouts that look so."""
    (output,) = writers_of(["cutouts"], {"cutouts": settings})
    return output


def on_grid(inside: np.ndarray, points: int = 33, certainty: float = 12.0) -> GridView:
    """What a network would say of an (H, W) subject in 0..1: two logits on a coarse grid."""
    height, width = inside.shape
    axes = [
        onto_grid(resized(side, side), side, points, "align_corners") for side in (height, width)
    ]
    places = [np.linspace(0, side - 1, points).round().astype(int) for side in (height, width)]
    smooth = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), max(height, width) / points / 2)
    plane = (smooth[np.ix_(*places)] - 0.5) * certainty
    return GridView(np.stack([np.zeros_like(plane), plane]).astype(np.float32), *axes)


def disk(side: int, radius: float, supersampling: int = 4) -> np.ndarray:
    """(side, side) float64: the covered share of each pixel."""
    fine = np.arange(side * supersampling) / supersampling - side / 2
    inside = (fine[:, None] ** 2 + fine**2 < radius**2).astype(float)
    return inside.reshape(side, supersampling, side, supersampling).mean(axis=(1, 3))


@pytest.fixture(scope="module")
def scene():
    """A red disk on blue with a little noise: picture, covered share, the network's answer."""
    share = disk(240, 70)
    noise = np.random.default_rng(0).normal(0, 4, (240, 240, 3))
    picture = share[..., None] * RED + (1 - share[..., None]) * BLUE + noise
    return picture.clip(0, 255).round().astype(np.uint8), share, on_grid(share)


def test_fit_is_the_ridge_regression_of_each_window():
    generator = np.random.default_rng(1)
    colors = generator.random((14, 17, 3), np.float32)
    opacity = generator.random((14, 17), np.float32)
    radius, side = 2, 5
    padded = [
        np.pad(values, [(radius, radius)] * 2 + [(0, 0)] * (values.ndim - 2), mode="symmetric")
        for values in (colors.astype(float), opacity.astype(float))
    ]
    slopes, offsets = np.zeros((14, 17, 3)), np.zeros((14, 17))
    for y in range(14):
        for x in range(17):
            color = padded[0][y : y + side, x : x + side].reshape(-1, 3)
            target = padded[1][y : y + side, x : x + side].ravel()
            # A penalty of 1e-4 per pixel on the slopes: rows that pull them towards 0.
            pull = np.sqrt(1e-4 * len(target)) * np.eye(3, 4)
            design = np.vstack([np.column_stack([color, np.ones(len(color))]), pull])
            found = np.linalg.lstsq(design, np.append(target, np.zeros(3)), rcond=None)[0]
            slopes[y, x], offsets[y, x] = found[:3], found[3]
    fitted = fit_edges(colors, opacity, radius)
    mean = np.stack([box(slopes[..., c], side) for c in range(3)], axis=-1)
    np.testing.assert_allclose(fitted.slope, mean, atol=2e-4)
    np.testing.assert_allclose(fitted.offset, box(offsets, side), atol=2e-4)


def box(plane, side):
    padded = np.pad(plane, side // 2, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
    return windows.mean(axis=(2, 3))


@given(st.floats(0.01, 0.99), st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_ramp_rises_through_one_half_at_the_threshold(threshold, values):
    ramp = edge_ramp(np.sort(np.array(values, np.float32)), threshold)
    assert (np.diff(ramp) >= 0).all() and ramp.min() >= 0 and ramp.max() <= 1
    ends = edge_ramp(np.array([0, threshold / 2, threshold, (1 + threshold) / 2, 1]), threshold)
    np.testing.assert_allclose(ends, [0, 0, 0.5, 1, 1], atol=1e-6)


def test_probability_is_the_sum_of_the_classes_read_between_grid_points():
    logits = np.random.default_rng(2).normal(size=(21, 5, 7)).astype(np.float32)
    axis = AxisMap(0.5, 0.0, 0.0, 4.0), AxisMap(0.5, 0.0, 0.0, 6.0)
    exponentials = np.exp(logits.astype(float))
    expected = (exponentials / exponentials.sum(axis=0))[[3, 15]].sum(axis=0)
    ys, xs = np.arange(9), np.arange(13)
    found = foreground_probability([GridView(logits, *axis)], [3, 15], (9, 13), ys, xs)
    np.testing.assert_allclose(found[::2, ::2], expected, atol=1e-5)
    between = (expected[:-1] + expected[1:]) / 2
    np.testing.assert_allclose(found[1::2, ::2], between, atol=1e-5)


def test_edge_follows_the_picture_more_closely_than_the_grid(scene):
    picture, share, view = scene
    alpha = cut_out(picture, [view], [1], CutoutSettings(background="remove"))[..., 3] / 255
    pixels = np.arange(240)
    plain = edge_ramp(foreground_probability([view], [1], (240, 240), pixels, pixels))
    edge = (share > 0) & (share < 1)
    assert np.abs(alpha - share)[edge].mean() < 0.16
    assert np.abs(alpha - share).mean() < 0.3 * np.abs(plain - share).mean()
    assert 0 < ((alpha > 0) & (alpha < 1)).mean() < 0.1  # soft, but only at the edge


def test_subject_stays_as_it_is_and_the_rest_is_transparent(scene):
    picture, _, view = scene
    cut = cut_out(picture, [view], [1], CutoutSettings(background="remove"))
    inside, outside = disk(240, 55) == 1, disk(240, 88) == 0
    assert cut.shape == (240, 240, 4) and cut.dtype == np.uint8
    assert (cut[inside][:, 3] == 255).all() and (cut[inside][:, :3] == picture[inside]).all()
    assert (cut[outside] == 0).all()


def test_color_fills_the_background_exactly(scene):
    picture, _, view = scene
    cut = cut_out(picture, [view], [1], CutoutSettings(background="color", color=(1, 250, 99)))
    assert (cut[disk(240, 88) == 0] == (1, 250, 99)).all()
    assert (cut[disk(240, 55) == 1] == picture[disk(240, 55) == 1]).all()


def test_edge_pixels_lose_the_colour_of_what_was_behind_them(scene):
    picture, share, view = scene
    cut = cut_out(picture, [view], [1], CutoutSettings(background="remove"))
    mixed = (share > 0.2) & (share < 0.8) & (cut[..., 3] > 25)
    before = np.abs(picture[mixed].astype(float) - RED).mean()
    after = np.abs(cut[mixed][:, :3].astype(float) - RED).mean()
    assert after < 0.4 * before


@pytest.mark.parametrize("percent", [0.5, 2.0, 10.0])
def test_blurred_background_holds_none_of_the_subjects_colour(scene, percent):
    picture, _, view = scene
    cut = cut_out(picture, [view], [1], CutoutSettings(blur=percent))
    outside = disk(240, 73) == 0
    naive = cv2.GaussianBlur(picture, (0, 0), percent / 100 * 240)
    assert np.abs(cut[outside].astype(float) - BLUE).max() < 12
    if percent >= 2:  # the plain blur does bleed
        assert np.abs(naive[outside].astype(float) - BLUE).max() > 40
    assert (cut[disk(240, 55) == 1] == picture[disk(240, 55) == 1]).all()


def test_blur_is_that_of_a_gaussian_far_from_the_subject():
    generator = np.random.default_rng(3)
    picture = generator.integers(0, 256, (200, 200, 3), np.uint8)
    inside = np.zeros((200, 200))
    inside[:40, :40] = 1
    cut = cut_out(picture, [on_grid(inside)], [1], CutoutSettings(blur=2.0))
    plain = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 4.0)
    assert np.abs(cut[100:180, 100:180] - plain[100:180, 100:180]).max() < 1.5


@pytest.mark.parametrize("background", ["blur", "remove", "color"])
def test_no_subject_and_nothing_but_subject(background):
    picture = np.random.default_rng(4).integers(0, 256, (30, 50, 3), np.uint8)
    look = CutoutSettings(background=background)
    everything = cut_out(picture, [on_grid(np.ones((30, 50)), 9)], [1], look)
    assert (everything[..., :3] == picture).all()
    nothing = cut_out(picture, [on_grid(np.zeros((30, 50)), 9)], [1], look)
    if background == "remove":
        assert (nothing == 0).all() and (everything[..., 3] == 255).all()
    if background == "color":
        assert (nothing == 255).all()


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(["blur", "remove", "color"]),
    st.floats(0.05, 0.95),
    st.integers(0, 1000),
)
def test_any_size_and_any_answer_gives_a_picture_of_that_size(size, background, threshold, seed):
    generator = np.random.default_rng(seed)
    picture = generator.integers(0, 256, (*size, 3), np.uint8)
    maps = (AxisMap(0.1, 0.0, 0.0, 3.0), AxisMap(0.1, 0.0, 0.0, 3.0))
    view = GridView(generator.normal(0, 9, (3, 4, 4)).astype(np.float32), *maps)
    look = CutoutSettings(background=background, threshold=threshold, blur=5)
    cut = cut_out(picture, [view], [1, 2], look)
    assert cut.shape == (*size, 4 if background == "remove" else 3) and cut.dtype == np.uint8


def test_bands_leave_no_trace(scene, monkeypatch):
    picture, _, view = scene
    for look in (CutoutSettings(), CutoutSettings(background="remove")):
        whole = cut_out(picture, [view], [1], look)
        with monkeypatch.context() as patch:
            patch.setattr(cutout_module, "_BAND_PIXELS", 7 * 240)
            assert (cut_out(picture, [view], [1], look) == whole).all()


def test_large_pictures_keep_their_edges_and_need_little_memory(scene):
    _, share, view = scene
    side = 2400
    assert side > 3 * GUIDE_SIDE
    large = cv2.resize(share, (side, side), interpolation=cv2.INTER_LINEAR)[..., None]
    picture = (large * RED + (1 - large) * BLUE).round().astype(np.uint8)
    maps = [onto_grid(resized(side, 240), 240, 33, "align_corners")] * 2
    tracemalloc.start()
    cut = cut_out(picture, [GridView(view.grid, *maps)], [1], CutoutSettings(background="remove"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    alpha = cut[..., 3] / 255
    assert np.abs(alpha - large[..., 0]).mean() < 0.01
    edge = (large[..., 0] > 0.1) & (large[..., 0] < 0.9)
    assert np.abs(alpha - large[..., 0])[edge].mean() < 0.25
    # The result and a band; a float plane of the whole picture alone would be 23 MB, colours 69.
    assert peak < cut.nbytes + 90e6


def test_crumbs_go_with_the_background(scene):
    """A second, smaller disk goes where its area is below the minimum, and only there."""
    picture, share, _ = scene
    small = np.roll(disk(240, 12), (-90, -90), axis=(0, 1))
    both = (picture * (1 - small[..., None]) + small[..., None] * RED).round().astype(np.uint8)
    view = on_grid(np.maximum(share, small), points=61)
    crumb, disk_inside = small == 1, disk(240, 55) == 1
    for least, stays in ((0, True), (200, True), (1500, False)):
        look = CutoutSettings(background="remove", min_area=least)
        alpha = cut_out(both, [view], [1], look)[..., 3]
        assert (alpha[disk_inside] == 255).all()
        assert (alpha[crumb].mean() > 200) == stays
        assert stays or alpha[small > 0].max() == 0


def test_pieces_are_counted_by_their_eight_neighbours():
    plane = np.zeros((6, 8), np.float32)
    plane[[1, 2, 3], [1, 2, 3]] = 0.6  # three pixels that touch by corners
    plane[4, 6] = 0.9
    plane[4, 4] = 0.3  # hangs on them, but is less than half in
    kept = without_crumbs(plane, 0.5, 2.5)
    assert (kept == np.where(plane == 0.9, 0, plane)).all() and kept.dtype == np.float32
    assert not without_crumbs(plane, 0.5, 3.5).any()
    assert without_crumbs(plane, 0.2, 3.5)[4, 4] > 0
    assert not without_crumbs(np.full((3, 3), 0.4, np.float32), 0.5, 1).any()


def test_classes_are_chosen_by_name():
    voc = builtin("voc")
    assert chosen_classes(CutoutSettings(classes=("person", "dog", "person")), voc) == [12, 15]
    assert chosen_classes(CutoutSettings(), voc) == list(range(1, 21))
    with pytest.raises(SettingsError, match=r"no class 'persn'.*background, aeroplane"):
        chosen_classes(CutoutSettings(classes=("persn",)), voc)
    with pytest.raises(SettingsError, match=r"no background.*--classes.*road, sidewalk"):
        chosen_classes(CutoutSettings(), builtin("cityscapes"))


def outputs_of(picture, view, **changed):
    fields = {
        "key": "a/b c.jpg",
        "output": "a/b c",
        "mask": np.zeros(picture.shape[:2], np.uint8),
        "labels": SUBJECT,
        "image": picture,
        "views": (view,),
    }
    return ImageOutputs(**{**fields, **changed})


@pytest.mark.parametrize(
    ("background", "extension", "kind", "mode"),
    [("blur", ".jpg", "JPEG", "RGB"), ("color", ".jpg", "JPEG", "RGB"),
     ("remove", ".png", "PNG", "RGBA")],
)  # fmt: skip
def test_files_are_of_the_kind_that_holds_them(scene, background, extension, kind, mode):
    picture, _, view = scene
    look = CutoutSettings(background=background)
    writer = cutouts(look)
    assert writer.path("a/b c") == f"cutouts/a/b c{extension}"
    data = writer.write(outputs_of(picture, view))
    assert data == writer.write(outputs_of(picture, view))
    with Image.open(io.BytesIO(data)) as file:
        assert (file.format, file.mode, file.size) == (kind, mode, (240, 240))
        difference = np.asarray(file).astype(int) - cut_out(picture, [view], [1], look)
    assert np.abs(difference).max() == 0 if kind == "PNG" else np.abs(difference).mean() < 4


def test_what_a_jpeg_cannot_hold_is_a_failure_of_that_file():
    picture = np.zeros((2, 65_501, 3), np.uint8)
    here = AxisMap(1.0, 0.0, 0.0, 0.0)
    view = GridView(np.array([[[0.0]], [[9.0]]], np.float32), here, here)
    with pytest.raises(ImageFailure, match="--background remove") as caught:
        cutouts(CutoutSettings()).write(outputs_of(picture, view))
    assert caught.value.code == ErrorCode.CANNOT_HOLD
    data = cutouts(CutoutSettings(background="remove")).write(outputs_of(picture, view))
    with Image.open(io.BytesIO(data)) as file:
        assert file.size == (65_501, 2)


def test_no_memory_is_a_failure_of_that_file(scene, monkeypatch):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr("maskmill.pipeline.prelabel.writers.cutout_file.cut_out", exhausted)
    with pytest.raises(ImageFailure) as caught:
        cutouts(CutoutSettings()).write(outputs_of(scene[0], scene[2]))
    assert caught.value.code == ErrorCode.OUT_OF_MEMORY


def test_without_picture_or_grid_there_is_no_cutout(scene):
    write = cutouts(CutoutSettings()).write
    for missing in ({"image": None}, {"views": ()}):
        with pytest.raises(SettingsError, match="needs the image"):
            write(outputs_of(scene[0], scene[2], **missing))


def test_settings_as_plain_values_tell_all():
    plain = CutoutSettings(background="color", color=(1, 2, 3), classes=("dog",)).to_dict()
    assert plain == {
        "background": "color",
        "color": [1, 2, 3],
        "classes": ["dog"],
        "threshold": 0.5,
        "blur": 2.0,
        "min_area": 0,
    }
