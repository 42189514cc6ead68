"""Upsampling of tensors gives the labels of the CPU path, bit by bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.labelling import upsample_tensor
from maskmill.pipeline.labelling.upsample import upsample_argmax
from maskmill.pipeline.labelling.upsample_tensor import upsample_argmax_tensor
from maskmill.pipeline.views.geometry import AxisMap, onto_grid, resized

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@st.composite
def cases(draw):
    points = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    classes = draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grid = rng.normal(size=(classes, *points)) * draw(st.sampled_from([0.0, 1.0, 50.0]))
    if draw(st.booleans()):
        grid = grid.round()  # ties
    axes = [
        AxisMap(
            draw(st.floats(0.01, 3.0)) * draw(st.sampled_from([-1, 1])),
            draw(st.floats(-10, 10)),
            0.0,
            count - 1.0,
        )
        for count in points
    ]
    size = draw(st.integers(1, 50)), draw(st.integers(1, 50))
    return grid.astype(np.float32), *axes, size


@given(cases(), st.sampled_from([50, 1000, 1 << 25]))
@settings(max_examples=200, deadline=None)
def test_same_labels_as_the_cpu_path(case, band):
    grid, *rest = case
    before = upsample_tensor._BAND_VALUES
    upsample_tensor._BAND_VALUES = band
    try:
        labels = upsample_argmax_tensor(torch.from_numpy(grid), *rest)
    finally:
        upsample_tensor._BAND_VALUES = before
    assert labels.dtype == torch.uint8
    assert np.array_equal(labels.numpy(), upsample_argmax(*case))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("classes", [21, 150])
def test_a_picture_on_each_device(device, classes):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    rng = np.random.default_rng(classes)
    coarse = torch.tensor(rng.normal(size=(1, classes, 7, 7)).astype(np.float32) * 8)
    grid = torch.nn.functional.interpolate(
        coarse, size=(49, 65), mode="bicubic", align_corners=True
    )[0]
    size = (600, 800)
    maps = [
        onto_grid(resized(n, k), k, p, "align_corners")
        for n, k, p in zip(size, (385, 513), (49, 65), strict=True)
    ]
    labels = upsample_argmax_tensor(grid.to(device), *maps, size)
    assert labels.device.type == device
    expected = upsample_argmax(grid.numpy(), *maps, size)
    assert len(np.unique(expected)) > 5
    assert np.array_equal(labels.cpu().numpy(), expected)


def test_half_precision_and_many_classes():
    grid = torch.randn(300, 5, 6, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    maps = [onto_grid(resized(40, 64), 64, k, "half_pixel") for k in (5, 6)]
    labels = upsample_argmax_tensor(grid, *maps, (40, 40), dtype=torch.int32)
    expected = upsample_argmax(grid.float().numpy(), *maps, (40, 40), dtype=np.uint16)
    assert labels.max() > 255 and np.array_equal(labels.numpy(), expected)
    with pytest.raises(ValueError, match="300 classes"):
        upsample_argmax_tensor(grid, *maps, (40, 40))


def test_what_is_not_a_grid_is_refused():
    axis = AxisMap(0.1, 0.0, 0.0, 3.0)
    with pytest.raises(ValueError, match="NaN"):
        upsample_argmax_tensor(torch.full((2, 4, 4), torch.nan), axis, axis, (5, 5))
    with pytest.raises(ValueError, match="cannot upsample"):
        upsample_argmax_tensor(torch.zeros(4, 4), axis, axis, (5, 5))
    with pytest.raises(ValueError, match="outside a grid"):
        upsample_argmax_tensor(torch.zeros(2, 3, 3), axis, axis, (5, 5))
