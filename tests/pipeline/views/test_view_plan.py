"""Which views a picture gets, and which wishes are refused."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.models.adaptation import at_output_stride, check_scales, check_threshold
from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.segmenter import build_network
from maskmill.pipeline.views.plan import (
    AUTO_WINDOW,
    AUTO_WINDOW_PIXELS,
    ViewSettings,
    network_size,
    plan_views,
)
from maskmill.pipeline.views.preprocessing import Preprocessing
from maskmill.schemas.errors import SettingsError

DEFAULT = MODELS["deeplabv3_mobilenetv2_x05_voc"]
TORCHVISION = MODELS["deeplabv3_resnet50"]


@pytest.mark.parametrize(
    ("size_hw", "windows"),
    [
        ((375, 500), 1),
        ((4000, 6000), 1),  # 24 megapixels
        ((4000, 8000), 1),  # 32 megapixels, the most that is seen whole
        ((4000, 8001), 15),
        ((8400, 12000), 48),
        ((1, AUTO_WINDOW_PIXELS), 1),
    ],
)
def test_only_large_pictures_are_cut_unasked(size_hw, windows):
    plan = plan_views(size_hw, ViewSettings())
    assert len(plan.windows) == windows
    assert (plan.windows == (None,)) == (windows == 1)
    if windows > 1:
        assert {(w.height, w.width) for w in plan.windows} == {(AUTO_WINDOW, AUTO_WINDOW)}


def test_zero_means_never_and_a_picture_that_fits_is_seen_whole():
    assert plan_views((8400, 12000), ViewSettings(window=0)).windows == (None,)
    assert plan_views((300, 500), ViewSettings(window=500)).windows == (None,)
    assert len(plan_views((300, 501), ViewSettings(window=500)).windows) == 2


@given(
    st.integers(1, 700), st.integers(1, 700), st.integers(64, 400), st.floats(0, 0.9), st.booleans()
)
def test_views_cover_the_picture_evenly_and_come_in_order(height, width, window, overlap, flip):
    settings = ViewSettings(scales=(0.5, 1.0, 1.5), flip=flip, window=window, overlap=overlap)
    plan = plan_views((height, width), settings)
    views = list(plan.view_windows())
    assert len(views) == len(plan.windows) * 3 * (2 if flip else 1)
    assert len(list(plan.places())) * (2 if flip else 1) == len(views)
    tops = [0 if view is None else view.top for view in views]
    assert tops == sorted(tops)
    counted = np.zeros((height, width))
    for view in views:
        part = (slice(None),) * 2 if view is None else view.slices
        counted[part] += 1 if view is None else np.outer(view.row_weights, view.col_weights)
    np.testing.assert_allclose(counted, 3 * (2 if flip else 1), rtol=1e-5)
    assert plan == plan_views((height, width), settings) or plan.windows != (None,)


def test_network_sizes_are_the_published_ones():
    """513 with aligned corners: DeepLab's evaluation sizes; 520 otherwise: plain multiples."""
    scales = (0.5, 0.75, 1.25, 1.5, 1.75)
    sizes = [
        [
            network_size(
                spec.preprocessing, s, image_size=None, alignment=spec.alignment, size_hw=(9, 9)
            )
            for s in scales
        ]
        for spec in (DEFAULT, TORCHVISION)
    ]
    assert sizes == [[257, 385, 641, 769, 897], [260, 390, 650, 780, 910]]


def test_scale_one_changes_no_size():
    for image_size, spec in itertools.product((None, 129), (DEFAULT, TORCHVISION)):
        given = {"image_size": image_size, "alignment": spec.alignment, "size_hw": (5, 5)}
        assert network_size(spec.preprocessing, 1.0, **given) == image_size


def test_a_rule_without_resizing_scales_the_picture_itself():
    rule = Preprocessing(resize="none", size=513)
    given = {"image_size": None, "alignment": "half_pixel"}
    assert network_size(rule, 2.0, size_hw=(100, 300), **given) == 600
    assert network_size(rule, 0.25, size_hw=(20, 30), **given) == 32


def test_scales_too_small_for_the_network_are_refused():
    check_scales(ViewSettings(scales=(0.5, 1.0)), DEFAULT, 129)
    with pytest.raises(SettingsError, match=r"scale 0\.25 .* 17 pixels"):
        check_scales(ViewSettings(scales=(0.25, 1.0)), DEFAULT, 65)


def test_a_threshold_is_for_two_classes():
    check_threshold(None, DEFAULT, 21)
    check_threshold(0.3, DEFAULT, 2)
    with pytest.raises(SettingsError, match="has 21"):
        check_threshold(0.3, DEFAULT, 21)


def test_an_output_stride_is_refused_where_the_network_has_one_only():
    assert at_output_stride(TORCHVISION, 8) == replace(TORCHVISION, stride_asked=True)
    assert at_output_stride(TORCHVISION, None) is TORCHVISION
    with pytest.raises(SettingsError, match="output stride 8 and no other"):
        at_output_stride(TORCHVISION, 16)


@pytest.mark.parametrize("spec", [s for s in MODELS.values() if "output_stride" in dict(s.options)],
                         ids=lambda spec: spec.name)  # fmt: skip
def test_weights_fit_at_either_output_stride(spec):
    import torch

    shapes = []
    with torch.device("meta"):
        for stride in (8, 16):
            other = at_output_stride(spec, stride)
            network = build_network(other, 5)
            shapes.append({name: tuple(t.shape) for name, t in network.state_dict().items()})
            grid = network(torch.zeros(1, 3, 513, 513)).shape
            assert grid[-1] == 512 // other.grid_stride + 1
    assert shapes[0] == shapes[1]
