"""Run lengths of a mask read row by row, zeros first: what CVAT and Label Studio build on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.masks.declared_size import declared_size
from maskmill.schemas.arrays import BoolMask
from maskmill.schemas.errors import DocumentFailure, ErrorCode

Lengths = npt.NDArray[np.int64]
"""(N,) run lengths; even positions are outside, odd ones inside; the first may be 0."""


def mask_to_lengths(inside: BoolMask) -> Lengths:
    """Row-major run lengths of an (h, w) bool mask; they sum to h * w."""
    flat = inside.ravel()
    if flat.size == 0:
        return np.zeros(0, dtype=np.int64)
    cuts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], cuts, [flat.size]])
    lengths = np.diff(edges)
    return np.concatenate([[0], lengths]) if flat[0] else lengths


def lengths_to_mask(lengths: Lengths, size_hw: tuple[int, int], *, name: str) -> BoolMask:
    """(h, w) bool from row-major run lengths.

    Raises:
        DocumentFailure: UNSAFE_SIZE where a run is negative or they do not fill h * w exactly.
    """
    height, width = size_hw
    bounded = lengths.size == 0 or (lengths.min() >= 0 and lengths.max() <= height * width)
    if not bounded or int(lengths.sum()) != height * width:
        raise DocumentFailure(
            ErrorCode.UNSAFE_SIZE,
            f"{name}: the runs do not fill {width} x {height} pixels exactly; the RLE is damaged",
        )
    inside = np.zeros(len(lengths), dtype=np.bool_)
    inside[1::2] = True
    return np.repeat(inside, lengths).reshape(height, width)


def mask_to_points(inside: BoolMask, left: int, top: int) -> list[int]:
    """A mask shape's ``points`` in CVAT's API: its run lengths, then left, top, right, bottom.

    ``inside`` is the (h, w) box whose corner lies at column ``left`` and row ``top``; right and
    bottom are inclusive. Facts: cvat_sdk.masks.
    """
    height, width = inside.shape
    corners = [left, top, left + width - 1, top + height - 1]
    return [*mask_to_lengths(inside).tolist(), *corners]


def points_to_mask(points: Sequence[int], *, name: str) -> tuple[BoolMask, int, int]:
    """((h, w) bool, left, top) of a mask shape's ``points``.

    Raises:
        DocumentFailure: MALFORMED without corners, or with ones that are no box; UNSAFE_SIZE for
            an absurd box, or runs that do not fill it.
    """
    left, top, right, bottom = points[-4:] if len(points) >= 4 else (0, 0, -1, -1)
    size_hw = declared_size(bottom - top + 1, right - left + 1, name=name)
    lengths = np.array(points[:-4], dtype=np.int64)
    return lengths_to_mask(lengths, size_hw, name=name), left, top


def value_counts(
    values: npt.NDArray[Any],
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Sorted distinct values of an (H, W) array with at least one pixel, and their pixels."""
    flat = values.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    found, places = np.unique(flat[starts], return_inverse=True)
    counts = np.bincount(places, np.diff(starts, append=flat.size)).astype(np.int64)
    return found, counts


def distinct(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Sorted distinct values of an (H, W) array, and the (H, W) place of each pixel's in them.

    As ``np.unique`` with its inverse, but only the first pixel of each run is sorted.
    """
    flat = values.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    found, places = np.unique(flat[starts], return_inverse=True)
    lengths = np.diff(starts, append=flat.size)
    return found, np.repeat(places, lengths).reshape(values.shape)
