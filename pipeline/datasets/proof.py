"""Proof of a conversion: what was written is read back and compared pixel for pixel."""

from dataclasses import dataclass

import numpy as np

from maskmill.pipeline.datasets.class_mapping import ClassMapping, map_mask
from maskmill.pipeline.datasets.samples import (
    Sample,
)
from maskmill.schemas.arrays import BoolMask
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.labels import LabelMap


@dataclass(frozen=True, slots=True)
class Difference:
    """Pixels that did not come back, of ``pixels`` in all.

    ``ignore_lost`` are ignore pixels that came back as a class, ``differing`` all other ones;
    ``where`` names the first of the latter.
    """

    differing: int
    ignore_lost: int
    pixels: int
    where: str

    @property
    def is_lossless(self) -> bool:
        """True where every pixel came back."""
        return self.differing == 0 and self.ignore_lost == 0


def mapping_back(read: LabelMap, original: LabelMap) -> ClassMapping:
    """From the classes read back to the original ones, by name.

    Names meet with blanks or underscores alike, because some targets cannot hold blanks.
    Background meets background, and ignore where the original has none. Classes that the
    original lacks become ignore; :func:`compare` counts their pixels as wrong.
    """
    by_name = {entry.name.replace(" ", "_"): entry.index for entry in original.classes}
    background = original.background_index
    fill = original.ignore_index if background is None else background
    targets = (
        fill
        if entry.is_background
        else by_name.get(entry.name.replace(" ", "_"), original.ignore_index)
        for entry in read.classes
    )
    return ClassMapping(source=read, target=original, targets=tuple(targets))


def compare(original: Sample, read: Sample) -> Difference:
    """How a sample read back differs from the one that was written.

    Raises:
        DocumentFailure: SIZE_MISMATCH.
    """
    if read.size_hw != original.size_hw:
        raise DocumentFailure(
            ErrorCode.SIZE_MISMATCH,
            f"{original.key}: written as {original.size_hw}, read back as {read.size_hw}",
        )
    mapping = mapping_back(read.labels, original.labels)
    wrong = map_mask(read.mask, read.labels, mapping) != original.mask
    wrong |= _of_strangers(read, mapping)
    ignored = original.mask == original.labels.ignore_index
    ignore_lost = int(np.count_nonzero(wrong & ignored))
    wrong &= ~ignored
    differing = int(np.count_nonzero(wrong))
    where = ""
    if differing:
        row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
        where = f"{original.key}: first at y={row} x={column}"
    return Difference(differing, ignore_lost, wrong.size, where)


def _of_strangers(read: Sample, mapping: ClassMapping) -> BoolMask:
    """(H, W) bool: pixels of classes that the original never had."""
    strangers = [
        entry.index
        for entry, target in zip(read.labels.classes, mapping.targets, strict=True)
        if target == mapping.target.ignore_index and not entry.is_background
    ]
    return np.isin(read.mask, strangers)
