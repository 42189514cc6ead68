"""Run-length encoding of masks as COCO defines it; the only import of pycocotools.

Runs go down the columns, zeros first. The compressed string stores, from the fourth run on, the
difference to the run two before, in 5-bit groups. Facts: COCO data format, pycocotools 2.0.11.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from maskmill.pipeline.masks.changes import changes
from maskmill.schemas.arrays import BoolMask, LabelMask
from maskmill.schemas.errors import DocumentFailure, ErrorCode

Counts = npt.NDArray[np.int64]
"""(N,) run lengths in column order; even positions are zeros, odd ones are the mask."""

Runs = npt.NDArray[np.int64]
"""(N, 2) [start, stop) positions x * H + y of the pixels of one value, ascending."""

MAX_PIXELS = 1 << 30  # a mask larger than this is not an image of this world
_DENSE = 32  # pixels for one change down a column, below which a mask is turned as a whole
_MAX_GROUPS = 7  # 35 bits: more than a difference of two 32-bit runs can need


def class_runs(mask: LabelMask) -> dict[int, Runs]:
    """Runs of every value in ``mask``, ignore included, found in one pass; keys ascending."""
    if mask.size == 0:
        return {}
    edges = _edges(mask)
    columns, rows = np.divmod(edges[:-1], mask.shape[0])
    values = mask[rows, columns]
    order = np.argsort(values, kind="stable")
    values = values[order]
    runs = np.stack([edges[:-1][order], edges[1:][order]], axis=1)
    first = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])
    parts = np.split(runs, first[1:])
    return {int(values[at]): part for at, part in zip(first, parts, strict=True)}


def _edges(mask: LabelMask) -> npt.NDArray[np.int64]:
    """Where runs begin, as x * H + y ascending, and the number of pixels at the end.

    The mask lies in rows: each is held against the one before it, and only the few places that
    differ are put in column order. Where these are many, turning the whole mask costs less.
    """
    height, width = mask.shape
    changed = changes(np.ascontiguousarray(mask).reshape(-1), width)
    if len(changed) * _DENSE > mask.size:
        flat = mask.ravel("F")
        inner = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    else:
        rows, columns = np.divmod(changed, width)
        within = columns * height + rows + 1
        between = (np.flatnonzero(mask[0, 1:] != mask[-1, :-1]) + 1) * height
        inner = np.sort(np.concatenate([within, between]))
    return np.concatenate([[0], inner, [mask.size]]).astype(np.int64, copy=False)


def runs_to_counts(runs: Runs, num_pixels: int) -> Counts:
    """Run lengths of a mask of ``num_pixels`` from its runs; touching runs are joined first."""
    edges = np.empty(runs.size + 2, np.int64)
    edges[0], edges[-1] = 0, num_pixels
    edges[1:-1] = runs.ravel()
    inner = edges[1:-1]
    touching = inner[2::2] == inner[1:-1:2]
    if touching.any():
        drop = 2 + 2 * np.flatnonzero(touching)
        edges = np.delete(edges, np.concatenate([drop, drop + 1]))
    counts = np.diff(edges)
    return counts if counts[-1] else counts[:-1]


def runs_area(runs: Runs) -> int:
    """Number of pixels in the runs."""
    return int((runs[:, 1] - runs[:, 0]).sum())


def runs_bbox(runs: Runs, height: int) -> tuple[int, int, int, int]:
    """(x, y, width, height) of the pixels in the runs; ``runs`` must not be empty."""
    left, top = np.divmod(runs[:, 0], height)
    right, bottom = np.divmod(runs[:, 1] - 1, height)
    x, x_last = int(left[0]), int(right[-1])
    if (left != right).any():  # a run over a column border touches the last row and the first
        return x, 0, x_last - x + 1, height
    y = int(top.min())
    return x, y, x_last - x + 1, int(bottom.max()) - y + 1


def counts_to_strings(many: Sequence[Counts], size: tuple[int, int]) -> list[str]:
    """Compressed COCO strings of run lengths, each summing to the pixels of ``size`` (H, W)."""
    if not many:
        return []
    rles = coco_mask.frPyObjects([{"size": size, "counts": counts} for counts in many], *size)
    return [rle["counts"].decode("ascii") for rle in rles]


def string_to_counts(text: str) -> Counts:
    """Run lengths of a compressed COCO string. Trusts nothing but returns any length found.

    Raises:
        DocumentFailure: characters outside the alphabet, a cut-off string, or a run below zero
            or beyond 32 bits.
    """
    groups = np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int64) - 48
    if len(groups) == 0:
        return np.zeros(0, np.int64)
    if groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        raise _malformed(f"counts string {text[:20]!r} is not compressed RLE")
    stops = np.flatnonzero(groups & 32 == 0)
    starts = np.concatenate([[0], stops[:-1] + 1])
    lengths = stops - starts + 1
    if lengths.max() > _MAX_GROUPS:
        raise _malformed(f"counts string {text[:20]!r} holds a run beyond 32 bits")
    shifts = 5 * (np.arange(len(groups)) - np.repeat(starts, lengths))
    values = np.add.reduceat((groups & 31) << shifts, starts)
    values -= np.where(groups[stops] & 16, np.int64(1) << (5 * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def rle_to_counts(rle: Mapping[str, Any], *, name: str = "RLE") -> tuple[Counts, tuple[int, int]]:
    """Run lengths and (H, W) of a COCO RLE, compressed (str or bytes) or a list of integers.

    Nothing of the declared size is allocated before the runs are known to fill it exactly.

    Raises:
        DocumentFailure: MALFORMED for missing or foreign fields; UNSAFE_SIZE where the size is
            absurd, a run is negative, or the runs do not sum to height * width.
    """
    height, width = _declared_size(rle, name)
    counts = rle.get("counts")
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    lengths = string_to_counts(counts) if isinstance(counts, str) else _listed(counts, name)
    num_pixels = height * width
    bounded = len(lengths) == 0 or (lengths.min() >= 0 and lengths.max() <= num_pixels)
    if not bounded or lengths.sum() != num_pixels:
        raise DocumentFailure(
            ErrorCode.UNSAFE_SIZE,
            f"{name}: the runs do not fill size {height} x {width} = {num_pixels} pixels exactly; "
            "the RLE is damaged or was made for another image",
        )
    return lengths, (height, width)


def counts_to_mask(counts: Counts, size: tuple[int, int]) -> BoolMask:
    """(H, W) bool from run lengths that sum to H * W."""
    height, width = size
    inside = np.zeros(len(counts), np.bool_)
    inside[1::2] = True
    mask: BoolMask = np.repeat(inside, counts).reshape(width, height).T
    return mask


def decode(rle: Mapping[str, Any], *, name: str = "RLE") -> BoolMask:
    """(H, W) bool of a COCO RLE of either kind.

    Raises:
        DocumentFailure: as :func:`rle_to_counts`.
    """
    return counts_to_mask(*rle_to_counts(rle, name=name))


def annotation_to_mask(segmentation: Any, size: tuple[int, int], name: str) -> BoolMask:
    """(H, W) bool of a COCO segmentation of any form, decoded by pycocotools alone.

    For checks of what we wrote: nothing is guarded here as it is in :func:`decode`.

    Raises:
        DocumentFailure: pycocotools refuses it, or it has another size.
    """
    if not segmentation:
        return np.zeros(size, np.bool_)
    try:
        if isinstance(segmentation, Mapping) and isinstance(segmentation["counts"], str | bytes):
            rle = dict(segmentation)
        elif isinstance(segmentation, Mapping):
            rle = coco_mask.frPyObjects(dict(segmentation), *size)
        else:
            rle = coco_mask.merge(coco_mask.frPyObjects(list(segmentation), *size))
        inside: BoolMask = np.asarray(coco_mask.decode(rle)) > 0
    except Exception as error:  # its C code raises bare exceptions
        raise _malformed(f"{name}: pycocotools cannot decode it: {error}") from error
    if inside.shape != size:
        raise _malformed(f"{name}: pycocotools sees {inside.shape}, the document says {size}")
    return inside


def _declared_size(rle: Mapping[str, Any], name: str) -> tuple[int, int]:
    size = rle.get("size")
    if not (isinstance(size, Sequence) and len(size) == 2 and all(_is_count(n) for n in size)):
        raise _malformed(f"{name}: size must be [height, width], not {size!r:.60}")
    height, width = int(size[0]), int(size[1])
    if height * width > MAX_PIXELS:
        raise DocumentFailure(
            ErrorCode.UNSAFE_SIZE,
            f"{name}: declares {height} x {width} pixels; more than {MAX_PIXELS} are refused",
        )
    return height, width


def _listed(counts: object, name: str) -> Counts:
    if not isinstance(counts, Sequence) or not all(_is_count(run) for run in counts):
        raise _malformed(f"{name}: counts must be a string or a list of integers >= 0")
    return np.array(counts, np.int64)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFFFFFF


def _malformed(message: str) -> DocumentFailure:
    return DocumentFailure(ErrorCode.MALFORMED, message)
