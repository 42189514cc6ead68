"""Masks as polygons that keep parts and holes, simplified within a stated IoU loss, and back.

Coordinates are COCO's: the pixel in column x and row y covers [x, x + 1) × [y, y + 1), so a ring
along the pixel borders holds exactly the mask. Rasterising is pycocotools' own (2.0.11).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from maskmill.pipeline.masks.rle import decode
from maskmill.schemas.arrays import BoolMask
from maskmill.schemas.errors import DocumentFailure, ErrorCode

Ring = npt.NDArray[np.float64]
"""(N, 2) float64: x, y of the corners, not closed; N >= 3."""

# Directions of border edges, clockwise on the screen: right, down, left, up.
_STEP_X: Final = np.array([1, 0, -1, 0])
_STEP_Y: Final = np.array([0, 1, 0, -1])
_LARGEST_COORDINATE: Final = 1e7
_EPSILONS: Final = (24.0, 16.0, 11.0, 8.0, 5.6, 4.0, 2.8, 2.0, 1.5, 1.1, 0.8, 0.71)


@dataclass(frozen=True, slots=True)
class Part:
    """One 4-connected region: its outer ring and the rings of its holes."""

    outer: Ring
    holes: tuple[Ring, ...] = ()


@dataclass(frozen=True, slots=True)
class PolygonSet:
    """The parts of one segment and the IoU they keep with its mask (1.0 = exact)."""

    parts: tuple[Part, ...]
    iou: float


def mask_to_polygons(mask: BoolMask, max_loss: float = 0.0) -> PolygonSet:
    """Parts of an (H, W) bool mask, with the fewest corners that keep IoU >= 1 - max_loss.

    With ``max_loss`` 0 the rings run along pixel borders and the mask comes back exactly.
    Parts are ordered by their first pixel in row order. An empty mask has no parts.
    """
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    found = _within_loss(np.ascontiguousarray(mask[y : y + height, x : x + width]), max_loss)
    corner = np.array([x, y], dtype=np.float64)
    moved = tuple(
        Part(part.outer + corner, tuple(hole + corner for hole in part.holes))
        for part in found.parts
    )
    return PolygonSet(moved, found.iou)


def _within_loss(mask: BoolMask, max_loss: float) -> PolygonSet:
    exact = _border_parts(mask) if mask.size else ()
    for epsilon in _EPSILONS if max_loss > 0 and exact else ():
        parts = tuple(_simplified(part, epsilon) for part in exact)
        iou = _iou(parts, mask)
        if iou >= 1 - max_loss:
            return PolygonSet(parts, iou)
    return PolygonSet(exact, 1.0)


def parts_to_rings(parts: Sequence[Part]) -> list[Ring]:
    """One ring per part: holes are joined to the outer ring by seams of no width.

    For formats whose polygons have no holes. Even-odd and winding fills agree on the result.
    """
    return [_bridged(part) for part in parts]


def rings_to_mask(rings: Sequence[Ring], size_hw: tuple[int, int], *, name: str) -> BoolMask:
    """(H, W) bool: the union of the rings, each filled by the even-odd rule.

    Raises:
        DocumentFailure: MALFORMED for a ring of fewer than 3 corners, or with a coordinate that
            is not a number or absurdly far outside.
    """
    height, width = size_hw
    for ring in rings:
        if ring.ndim != 2 or ring.shape[1:] != (2,) or len(ring) < 3:
            raise DocumentFailure(
                ErrorCode.MALFORMED, f"{name}: a polygon needs at least 3 corners of x and y"
            )
        if not np.isfinite(ring).all() or np.abs(ring).max() > _LARGEST_COORDINATE:
            raise DocumentFailure(
                ErrorCode.MALFORMED, f"{name}: a polygon corner is not a usable number"
            )
    if not rings:
        return np.zeros(size_hw, dtype=np.bool_)
    flat = [ring.ravel().tolist() for ring in rings]
    merged = coco_mask.merge(coco_mask.frPyObjects(flat, height, width))
    return decode(merged, name=name)


def numbers_to_ring(numbers: object, *, name: str) -> Ring:
    """A flat list x1, y1, x2, y2, … as a ring.

    Raises:
        DocumentFailure: MALFORMED for fewer than 6 numbers, an odd count, or no numbers at all.
    """
    is_list = isinstance(numbers, Sequence) and not isinstance(numbers, str)
    if not is_list or len(numbers) < 6 or len(numbers) % 2:  # type: ignore[arg-type]
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{name}: a polygon is an even list of at least 6 numbers"
        )
    try:
        return np.array(numbers, dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{name}: a polygon holds something that is no number"
        ) from error


def _border_parts(mask: BoolMask) -> tuple[Part, ...]:
    """Rings along the pixel borders, holes with the region they lie in."""
    count, regions = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    outers: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {region: [] for region in range(1, count)}
    for ring, region in _border_rings(mask, regions):
        if _signed_area(ring) > 0:  # clockwise on the screen: inside is to the right
            outers[region] = ring
        else:
            holes[region].append(ring)
    return tuple(Part(outers[region], tuple(holes[region])) for region in outers)


def _border_rings(mask: BoolMask, regions: npt.NDArray[np.int32]) -> list[tuple[Ring, int]]:
    """Every closed border with the region on its right hand, corners only, in row order."""
    starts_x, starts_y, direction, inside = _border_edges(mask, regions)
    follower = _followers(starts_x, starts_y, direction, mask.shape[1]).tolist()
    seen = bytearray(len(follower))
    rings = []
    for first in range(len(follower)):
        if seen[first]:
            continue
        path = []
        edge = first
        while not seen[edge]:
            seen[edge] = 1
            path.append(edge)
            edge = follower[edge]
        at = np.array(path)
        corner = direction[at] != direction[np.roll(at, 1)]
        at = at[corner]
        ring = np.stack([starts_x[at], starts_y[at]], axis=1).astype(np.float64)
        rings.append((ring, int(inside[first])))
    return rings


def _border_edges(
    mask: BoolMask, regions: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int64], ...]:
    """Unit edges between inside and outside: start x, start y, direction, region on the right."""
    padded = np.pad(mask, 1).astype(np.int8)
    down = np.diff(padded, axis=0)[:, 1:-1]  # (H + 1, W): +1 where inside begins below
    right = np.diff(padded, axis=1)[1:-1, :]  # (H, W + 1): +1 where inside begins to the right
    top_y, top_x = np.nonzero(down == 1)
    end_y, end_x = np.nonzero(down == -1)
    left_y, left_x = np.nonzero(right == 1)
    last_y, last_x = np.nonzero(right == -1)
    x = np.concatenate([top_x, last_x, end_x + 1, left_x])
    y = np.concatenate([top_y, last_y, end_y, left_y + 1])
    kinds = [len(top_x), len(last_x), len(end_x), len(left_x)]
    direction = np.repeat(np.arange(4), kinds)
    inside_y = np.concatenate([top_y, last_y, end_y - 1, left_y])
    inside_x = np.concatenate([top_x, last_x - 1, end_x, left_x])
    inside = regions[inside_y, inside_x].astype(np.int64)
    return x, y, direction, inside


def _followers(
    x: npt.NDArray[np.int64], y: npt.NDArray[np.int64], direction: npt.NDArray[np.int64], width: int
) -> npt.NDArray[np.int64]:
    """The edge after each edge: where two leave a corner, the right turn keeps to its region."""
    corner = y * (width + 1) + x
    key = corner * 4 + direction
    order = np.argsort(key)
    ordered = key[order]
    end = (y + _STEP_Y[direction]) * (width + 1) + x + _STEP_X[direction]
    result = np.full(len(x), -1, dtype=np.int64)
    for turn in (1, 0, 3):  # right, straight on, left
        wanted = end * 4 + (direction + turn) % 4
        at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
        hit = (ordered[at] == wanted) & (result < 0)
        result[hit] = order[at[hit]]
    return result


def _signed_area(ring: Ring) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _simplified(part: Part, epsilon: float) -> Part:
    outer = _fewer_corners(part.outer, epsilon)
    if outer is None:
        return part  # a part is never lost to simplification
    holes = ((_fewer_corners(hole, epsilon), hole) for hole in part.holes)
    return Part(outer, tuple(hole if fewer is None else fewer for fewer, hole in holes))


def _fewer_corners(ring: Ring, epsilon: float) -> Ring | None:
    """Douglas-Peucker; None where fewer than three corners would stay."""
    points = ring.astype(np.float32).reshape(-1, 1, 2)
    kept = cv2.approxPolyDP(points, epsilon, closed=True).reshape(-1, 2).astype(np.float64)
    return kept if len(kept) >= 3 else None


def _iou(parts: Sequence[Part], mask: BoolMask) -> float:
    height, width = mask.shape
    drawn = rings_to_mask(parts_to_rings(parts), (height, width), name="polygon")
    union = np.count_nonzero(drawn | mask)
    return float(np.count_nonzero(drawn & mask) / union) if union else 1.0


def _bridged(part: Part) -> Ring:
    """The outer ring walked once, with a detour around each hole from its nearest corner."""
    ring = part.outer
    for hole in sorted(part.holes, key=lambda hole: float(hole[:, 0].min())):
        distance = np.abs(ring[:, None, :] - hole[None, :, :]).sum(axis=2)
        at, entry = np.unravel_index(int(distance.argmin()), distance.shape)
        around = np.roll(hole, -int(entry), axis=0)
        detour = np.concatenate([ring[at : at + 1], around, around[:1]])
        ring = np.concatenate([ring[:at], detour, ring[at:]])
    return ring
