"""RgbImage -> what enters the network, and where each original pixel lies on its logit grid."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from maskmill.pipeline.pictures.orientation import is_turned, orient
from maskmill.pipeline.pictures.reduction import Reduction
from maskmill.pipeline.views.geometry import AxisMap, onto_grid, resized
from maskmill.pipeline.views.preprocessing import Preprocessing
from maskmill.schemas.arrays import RgbImage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class NetworkPicture:
    """A picture at network size, not yet normalised.

    ``pixels`` is (h, w, 3) uint8 without padding; ``network_hw`` the size the network sees, grey
    around the picture, whose top left pixel lies at ``place_yx`` of it. ``rows`` and ``cols`` map
    original pixels to those of ``pixels``.
    """

    pixels: RgbImage
    network_hw: tuple[int, int]
    rows: AxisMap
    cols: AxisMap
    place_yx: tuple[int, int] = (0, 0)


def prepare(
    image: RgbImage,
    preprocessing: Preprocessing,
    *,
    image_size: int | None = None,
    reduction: Reduction | None = None,
) -> NetworkPicture:
    """Scale a picture by a spec's rule; ``image_size`` replaces the rule's own size.

    ``reduction`` says what the pixels of a reduced picture are. Size and maps are those of the
    whole picture: a pixel of it lies where it would lie without.

    Bilinear (a letterbox: bicubic) and antialiased on uint8 with half-pixel centres, by PyTorch's
    integer kernel, which gives the same values whatever the number of threads.
    """
    rule = preprocessing.sized(image_size)
    height, width = image.shape[:2] if reduction is None else reduction.shown_hw
    size_hw = resized_hw((height, width), rule)
    boxed = rule.resize == "letterbox"
    mode = "bicubic" if boxed else "bilinear"
    if reduction is not None:
        pixels = _resize_reduced(image, size_hw, mode, reduction)
    else:
        pixels = image if size_hw == (height, width) else resize_picture(image, size_hw, mode)
    network_hw = (max(rule.size, size_hw[0]), max(rule.size, size_hw[1])) if rule.pad else size_hw
    place = ((network_hw[0] - size_hw[0]) // 2, (network_hw[1] - size_hw[1]) // 2)
    return NetworkPicture(
        pixels, network_hw, resized(height, size_hw[0]), resized(width, size_hw[1]),
        place_yx=place if boxed else (0, 0),
    )  # fmt: skip


def resized_hw(size_hw: tuple[int, int], rule: Preprocessing) -> tuple[int, int]:
    """Size of a picture after the rule's scaling, without padding; no side below 1.

    The longest-side rule rounds the other side, the shortest-side rule cuts it off as torchvision
    does, so that its published weights see the sizes they were evaluated at. A letterbox cuts both
    off, a limited rule rounds halves up, as the projects do that have them.
    """
    height = size_hw[0]
    if rule.resize == "none":
        return size_hw
    if rule.resize == "exact":
        return rule.size, rule.size
    if rule.resize == "letterbox":
        scale = rule.size / max(size_hw)
        return max(1, int(height * scale)), max(1, int(size_hw[1] * scale))
    if rule.limit:
        scale = min(rule.size / min(size_hw), rule.limit / max(size_hw))
        return max(1, int(height * scale + 0.5)), max(1, int(size_hw[1] * scale + 0.5))
    longest = rule.resize == "longest_side"
    reference = max(size_hw) if longest else min(size_hw)
    if reference == rule.size or (reference < rule.size and not rule.upscale):
        return size_hw
    other = min(size_hw) if longest else max(size_hw)
    scaled = max(
        1, round(other * rule.size / reference) if longest else rule.size * other // reference
    )
    return (rule.size, scaled) if (height == reference) else (scaled, rule.size)


def grid_maps(
    picture: NetworkPicture, grid_hw: tuple[int, int], alignment: str
) -> tuple[AxisMap, AxisMap]:
    """Rows and columns of the original picture on a logit grid of ``grid_hw`` points."""
    rows, cols = (
        onto_grid(axis.then(1.0, float(place), 0.0, float(seen - 1)), seen, points, alignment)
        for axis, place, seen, points in zip(
            (picture.rows, picture.cols), picture.place_yx, picture.network_hw, grid_hw,
            strict=True,
        )
    )  # fmt: skip
    return rows, cols


def valid_part(axis: AxisMap, points: int) -> tuple[slice, AxisMap]:
    """Which of the grid's ``points`` an axis reads, and the axis on those alone.

    Those beyond lie wholly in the padding.
    """
    start, stop = math.floor(axis.low), min(points, math.ceil(axis.high) + 1)
    return slice(start, stop), axis.then(1.0, -float(start), 0.0, float(stop - start - 1))


def pixel_tensor(pixels: RgbImage) -> "Tensor":
    """(H, W, 3) uint8 on the same memory; a copy where torch could not take it as it is.

    Read-only arrays come out of Ray's object store, reversed ones out of a flip.
    """
    import torch

    return torch.from_numpy(np.require(pixels, requirements=("C", "W")))


def _resize_reduced(
    image: RgbImage, size_hw: tuple[int, int], mode: str, reduction: Reduction
) -> RgbImage:
    """By the scale from the whole picture: the reduced one may end a little beyond it.

    It is turned last, when it is small; so what lies beyond is at the end of either axis.
    """
    import torch

    target = size_hw[::-1] if is_turned(reduction.orientation) else size_hw
    scales = [
        wanted * reduction.factor / side
        for wanted, side in zip(target, reduction.stored_hw, strict=True)
    ]
    operator = getattr(torch.ops.aten, f"_upsample_{mode}2d_aa").default
    tensor = pixel_tensor(image).unsqueeze(0).permute(0, 3, 1, 2)  # (1, 3, H, W) view
    scaled = operator(tensor, list(target), False, *scales)
    turned = orient(scaled.squeeze(0).permute(1, 2, 0).numpy(), reduction.orientation)
    return np.ascontiguousarray(turned)


def resize_picture(image: RgbImage, size_hw: tuple[int, int], mode: str = "bilinear") -> RgbImage:
    """The one resize of pictures: antialiased on uint8, half-pixel centres."""
    import torch.nn.functional as F  # here, because the machine that starts a run needs no torch

    # Channels last throughout: torch's uint8 kernel then moves whole pixels, twice as fast.
    tensor = pixel_tensor(image).unsqueeze(0).permute(0, 3, 1, 2)  # (1, 3, H, W) view
    scaled = F.interpolate(tensor, size_hw, mode=mode, align_corners=False, antialias=True)
    pixels: RgbImage = scaled.squeeze(0).permute(1, 2, 0).contiguous().numpy()
    return pixels
