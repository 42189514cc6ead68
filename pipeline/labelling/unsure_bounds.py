"""What the logits at four corners say of the highest probability at every pixel between them.

Bilinear interpolation makes each pixel's logits z a weighted mean of the corners', and
ln Σ_c exp z_c is convex in z. So the logarithm of the sum is at most the same mean of the corners'
logarithms, and at least that of any tangent: both are bilinear themselves, known by four values.
"""

import math

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
StateArray = npt.NDArray[np.uint8]

SURE, UNSURE, MIXED = 0, 1, 2
"""No pixel is below the minimum; every pixel is; it is not known."""
_MARGIN = 1e-5
"""Of a bound, for rounding."""
_TANGENT_MARGIN = 3e-5
"""Of a tangent's logarithm, whose terms are products of differences."""
_FAR = -50.0
"""Logarithm of a share that is nothing."""


def cell_states(part: Float32Array, minimum: float, values_at_once: int) -> StateArray:
    """(n - 1, m - 1): what is known of the cells of a grid of (C, n, m) logits."""
    states = np.empty((part.shape[1] - 1, part.shape[2] - 1), dtype=np.uint8)
    step = max(1, values_at_once // (len(part) * part.shape[2]))
    for start in range(0, len(states), step):
        rows = part[:, start : start + step + 1]
        states[start : start + step] = _row_states(rows, minimum)
    return states


def _row_states(part: Float32Array, minimum: float) -> StateArray:
    """The same for few rows."""
    enough, low, peak = _at_points(part, minimum)
    down = enough[:, :-1] & enough[:, 1:]
    states = np.where((down[:, :, :-1] & down[:, :, 1:]).any(axis=0), SURE, MIXED).astype(np.uint8)
    low = low[:-1] & low[1:]
    y, x = np.nonzero(low[:, :-1] & low[:, 1:])
    flat, width = part.reshape(len(part), -1), part.shape[2]
    places = [y * width + x + to for to in (0, 1, width, width + 1)]
    corners = [flat.take(at, axis=1) for at in places]
    unsure = _unsure_between(corners, [peak.reshape(-1)[at] for at in places], minimum)
    states[y[unsure], x[unsure]] = UNSURE
    return states


def block_states(corners: Float32Array, minimum: float) -> StateArray:
    """(n,): what is known of the pixels between four corners each, (C, 4, n) logits."""
    enough, below, peak = _at_points(corners, minimum)
    states = np.where(enough.all(axis=1).any(axis=0), SURE, MIXED).astype(np.uint8)
    low = np.flatnonzero(below.all(axis=0))
    sides = [corners[:, side].take(low, axis=1) for side in range(4)]
    states[low[_unsure_between(sides, list(peak[:, low]), minimum)]] = UNSURE
    return states


def _at_points(
    logits: Float32Array, minimum: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], Float32Array]:
    """Of (C, …) logits: which classes have the minimum for sure, where (…) none has it, maxima."""
    peak = logits.max(axis=0)
    powers = logits - peak
    np.exp(powers, out=powers)
    total = powers.sum(axis=0)
    enough = powers >= total * np.float32(minimum * (1 + _MARGIN))
    return enough, total * np.float32(minimum * (1 - _MARGIN)) > 1, peak


def _unsure_between(
    corners: list[Float32Array], peaks: list[Float32Array], minimum: float
) -> npt.NDArray[np.bool_]:
    """(n,): whether no class can have the minimum between four corners of (C, n) logits each.

    ``peaks`` are the greatest of each corner's logits, (n,) each. The corners are overwritten.

    With t the tangent of ln Σ exp z at the corners' mean, ln p_b = z_b - ln Σ exp z is at most
    z_b - t at every pixel, and nowhere more than at one of the corners.
    """
    middle = corners[0] + corners[1]
    middle += corners[2]
    middle += corners[3]
    middle *= np.float32(0.25)
    top = middle.max(axis=0)
    powers = np.exp(middle - top)
    total = powers.sum(axis=0)
    powers *= 1 / total
    allowed = np.log(total) + np.float32(math.log(minimum) - _TANGENT_MARGIN)
    unsure = np.ones(len(total), dtype=np.bool_)
    for values, peak in zip(corners, peaks, strict=True):
        values -= middle
        rise = np.einsum("cn,cn->n", powers, values)
        unsure &= peak - top - rise < allowed
    return unsure


def tail_bounds(ahead: Float32Array, light: npt.NDArray[np.bool_]) -> Float32Array:
    """(2, 4, n): logits of one class below and one above the sum of the ``light`` ones.

    Bilinear interpolation of the first stays below ln Σ exp of the interpolated logits of those
    classes, that of the second above.

    Args:
        ahead: (C, 4, n) logits at four corners, those of light classes negative.
        light: (C, n) which classes to sum.
    """
    powers = np.exp(np.minimum(ahead, 0))
    powers *= light[:, None]
    above = powers.sum(axis=0)
    middle = ahead.mean(axis=1)
    share = np.exp(np.minimum(middle, 0))
    share *= light
    total = np.maximum(share.sum(axis=0), math.exp(_FAR))
    share *= 1 / total
    below = np.einsum("cn,cin->in", share, ahead) - np.einsum("cn,cn->n", share, middle)
    below += np.log(total) - _TANGENT_MARGIN
    above = np.log(np.maximum(above, math.exp(_FAR))) + _TANGENT_MARGIN
    bounds: Float32Array = np.stack([below, above]).astype(np.float32)
    return bounds
