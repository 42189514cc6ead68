"""Edges that follow the picture: opacity as a straight function of colour in every small window.

The guided filter with a colour guide (He, Sun, Tang: Guided Image Filtering, TPAMI 2013), its
coefficients computed on a reduced picture (He, Sun: Fast Guided Filter, 2015).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.schemas.arrays import ScoreMap

cv2.setNumThreads(1)  # there is a process per core already

Planes = npt.NDArray[np.float32]

_FLATNESS = 1e-4
"""Variance of colour (of values in 0..1) below which a window has no edge to follow."""


@dataclass(frozen=True, slots=True, eq=False)
class EdgeFit:
    """opacity = slope · color + offset; ``slope`` (h, w, 3) and ``offset`` (h, w) float32."""

    slope: Planes
    offset: Planes

    @staticmethod
    def at(colors: Planes, slope: Planes, offset: Planes) -> ScoreMap:
        """(H, W) opacity in 0..1 of (H, W, 3) colours, by coefficients at the same pixels."""
        opacity: ScoreMap = np.einsum("yxc,yxc->yx", slope, colors) + offset
        return opacity.clip(0, 1)


def fit_edges(colors: Planes, opacity: ScoreMap, radius: int) -> EdgeFit:
    """The coefficients that fit ``opacity`` best in square windows around each pixel.

    Args:
        colors: (h, w, 3) float32 in 0..1.
        opacity: (h, w) float32 in 0..1, to be fitted.
        radius: of the windows, in pixels; their side is 2 radius + 1.
    """
    mean, mean_opacity = box_mean(colors, radius), box_mean(opacity, radius)
    together = box_mean(colors * opacity[..., None], radius) - mean * mean_opacity[..., None]
    slope = _solved(_covariances(colors, mean, radius), together)
    offset = mean_opacity - np.einsum("yxc,yxc->yx", slope, mean)
    return EdgeFit(box_mean(slope, radius), box_mean(offset, radius))


def box_mean(planes: Planes, radius: int) -> Planes:
    """Means over the square windows of 2 radius + 1 pixels; borders are mirrored."""
    side = 2 * radius + 1
    mean: Planes = cv2.blur(planes, (side, side), borderType=cv2.BORDER_REFLECT)
    return mean


def _covariances(colors: Planes, mean: Planes, radius: int) -> tuple[Planes, ...]:
    """Of red-red, red-green, red-blue, green-green, green-blue, blue-blue; (h, w) each."""
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    return tuple(
        box_mean(colors[..., one] * colors[..., other], radius)
        - mean[..., one] * mean[..., other]
        + np.float32(_FLATNESS if one == other else 0)
        for one, other in pairs
    )


def _solved(covariances: tuple[Planes, ...], right: Planes) -> Planes:
    """x of the symmetric 3 x 3 systems C x = right, by Cramer's rule at all pixels at once."""
    rr, rg, rb, gg, gb, bb = (plane.astype(np.float64) for plane in covariances)
    c00, c01, c02 = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    c11, c12, c22 = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    red, green, blue = (right[..., channel] for channel in range(3))
    solution = np.stack(
        [
            c00 * red + c01 * green + c02 * blue,
            c01 * red + c11 * green + c12 * blue,
            c02 * red + c12 * green + c22 * blue,
        ],
        axis=-1,
    )
    determinant = rr * c00 + rg * c01 + rb * c02
    return (solution / determinant[..., None]).astype(np.float32)
