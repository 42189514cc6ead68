"""Boxes, key points, captions, tags without a mask: background alone would look like a result.

Only documents hold them (``DatasetFormat.bare_shapes``), so no mask file, which might kill the
process that decodes it, is read before a run.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from maskmill.pipeline.datasets.left_out import (
    BOXES,
    CONTESTED,
    COVERED,
    KEYPOINTS,
    NO_MASK,
    NO_PIXEL,
    SHAPES,
    TO_BACKGROUND,
    TO_IGNORE,
    LeftOut,
)
from maskmill.pipeline.datasets.samples import DatasetReader, ReadContext, Sample, SampleItem
from maskmill.schemas.errors import DocumentFailure, ErrorCode, FileFailure

BARE: Final = {
    BOXES: "boxes",
    KEYPOINTS: "key points",
    NO_MASK: "annotations without any shape",
    SHAPES: "lines, tags or other entries",
}
DRAWN: Final = (NO_PIXEL, COVERED, CONTESTED, TO_BACKGROUND, TO_IGNORE)
"""Kinds of what was left out that show there was a shape to draw."""
LOOKED_AT: Final = 32
"""Samples among which there must be a bare shape for the others to be looked at too."""


def count_bare(
    reader: DatasetReader, items: Iterable[SampleItem], context: ReadContext
) -> Counter[str]:
    """Bare shapes by kind, of a source that holds nothing else; empty where there is any mask.

    Samples are read up to the first one with a mask, which nearly always is the first. Where the
    first 32 hold neither mask nor bare shape they are pictures of background, and no more are
    read. A sample that cannot be read decides nothing: the run says what is wrong with it.
    """
    found: Counter[str] = Counter()
    for place, item in enumerate(items):
        if place >= LOOKED_AT and not found:
            break
        try:
            sample = reader.read(item, context)
        except FileFailure:
            continue
        if _has_mask(sample) or has_drawn(sample.left_out):
            return Counter()
        found.update(bare_of(sample.left_out))
    return found


def refuse_bare(
    source: str, reader: DatasetReader, items: Iterable[SampleItem], context: ReadContext
) -> None:
    """Stop at a source that holds boxes, key points, captions or tags and no mask.

    Raises:
        DocumentFailure: MALFORMED, with how many there are.
    """
    found = count_bare(reader, items, context)
    if found:
        raise bare_failure(source, found)


def bare_failure(source: str, found: Counter[str]) -> DocumentFailure:
    """What is said of a source without any mask; ``found`` are its bare shapes by kind."""
    return DocumentFailure(
        ErrorCode.MALFORMED,
        f"{source}: no masks in this document: {in_words(found)}; nothing but background could "
        "come of it. Export polygons or masks from the tool that made it, or make masks of the "
        "pictures with `maskmill prelabel`",
    )


def in_words(found: Counter[str]) -> str:
    """What there is instead of masks, by kind."""
    return ", ".join(f"{found[kind]:,} {words}" for kind, words in BARE.items() if found[kind])


def bare_of(left_out: LeftOut) -> Counter[str]:
    """Bare shapes by kind."""
    found: Counter[str] = Counter()
    for one, count in left_out.items():
        if one.kind in BARE and count:
            found[one.kind] += count
    return found


def has_drawn(left_out: LeftOut) -> bool:
    """True where something that was left out had been a shape."""
    return any(one.kind in DRAWN and count for one, count in left_out.items())


def _has_mask(sample: Sample) -> bool:
    return bool((sample.mask != sample.labels.background_index).any())
