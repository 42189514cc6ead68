"""Confidences from grey pictures and from probabilities."""

import io

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.audit.confidences import read_confidence
from maskmill.schemas.errors import ErrorCode, FileFailure


def png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("dtype, top", [(np.uint8, 255), (np.uint16, 65535)])
def test_grey_pictures(dtype, top):
    levels = np.linspace(0, top, 12).astype(dtype).reshape(3, 4)
    scores = read_confidence(png(levels), (3, 4), name="c")
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, levels / top, atol=1e-15)
    assert scores[0, 0] == 0 and scores[-1, -1] == 1


def soft_file(grid, size, views=1):
    """As documented in the writer of probabilities: arrays by name in an npz file."""
    classes, height, width = grid.shape
    arrays = {"size": np.array(size, np.int64)}
    for number in range(views):
        arrays[f"classes_{number}"] = np.arange(classes, dtype=np.uint16)
        arrays[f"probabilities_{number}"] = np.rint(grid * 255).astype(np.uint8)
        for name, full, points in (("rows", size[0], height), ("cols", size[1], width)):
            step = (points - 1) / (full - 1)
            arrays[f"{name}_{number}"] = np.array([step, 0.0, 0.0, points - 1])
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def test_probabilities_are_interpolated_as_pytorch_does():
    import torch

    rng = np.random.default_rng(0)
    grid = rng.dirichlet(np.ones(4), (5, 7)).transpose(2, 0, 1)
    scores = read_confidence(soft_file(grid, (41, 50)), (41, 50), name="c")
    top = torch.from_numpy(np.rint(grid * 255).max(axis=0) / 255)[None, None]
    expected = torch.nn.functional.interpolate(top, (41, 50), mode="bilinear", align_corners=True)
    np.testing.assert_allclose(scores, expected[0, 0].numpy(), atol=1e-5)


@pytest.mark.parametrize("data, code", [
    (png(np.zeros((4, 3), np.uint8)), ErrorCode.SIZE_MISMATCH),           # another size
    (png(np.zeros((3, 4, 3), np.uint8)), ErrorCode.WRONG_MODE),           # colours
    (b"", ErrorCode.EMPTY_FILE),
    (b"PK no npz", ErrorCode.MALFORMED),
    (soft_file(np.ones((1, 2, 2)), (9, 9)), ErrorCode.SIZE_MISMATCH),
    (soft_file(np.ones((1, 2, 2)), (3, 4), views=2), ErrorCode.CANNOT_HOLD),
])  # fmt: skip
def test_what_cannot_be_read(data, code):
    with pytest.raises(FileFailure) as caught:
        read_confidence(data, (3, 4), name="c")
    assert caught.value.code is code
