"""For targets that know no ignore: every pixel gets a class, and what changes is counted."""

from dataclasses import replace

import numpy as np

from maskmill.pipeline.datasets.class_mapping import ClassMapping, map_mask
from maskmill.pipeline.datasets.samples import (
    Sample,
)
from maskmill.schemas.labels import LabelClass, LabelMap


def labels_with_first_background(labels: LabelMap) -> LabelMap:
    """The classes with a background at index 0, moved there or added."""
    at = labels.background_index
    if at == 0:
        return labels
    first = LabelClass(
        index=0, name="background", color=(0, 0, 0), category_id=0, is_background=True
    )
    if at is not None:
        first = labels.classes[at]
    others = [entry for entry in labels.classes if not entry.is_background]
    shift = 1 if any(entry.category_id == 0 for entry in others) else 0
    moved = [
        replace(entry, index=index, category_id=entry.category_id + shift)
        for index, entry in enumerate(others, 1)
    ]
    return LabelMap(name=labels.name, classes=(replace(first, index=0), *moved))


def without_ignore(sample: Sample) -> tuple[Sample, tuple[str, ...]]:
    """The sample in :func:`labels_with_first_background`, ignore painted as background.

    The note counts ignore pixels that the target will not tell from background again; where the
    label map had no background there is nothing to confuse them with.
    """
    target = labels_with_first_background(sample.labels)
    by_name = {entry.name: entry.index for entry in target.classes}
    mapping = ClassMapping(
        source=sample.labels,
        target=target,
        targets=tuple(
            0 if entry.is_background else by_name[entry.name] for entry in sample.labels.classes
        ),
    )
    mask = map_mask(sample.mask, sample.labels, mapping)
    ignored = mask == target.ignore_index
    count = int(np.count_nonzero(ignored))
    if count:
        mask = mask.copy()
        mask[ignored] = 0
    confused = count and sample.labels.background_index is not None
    notes = (f"{count} ignore pixels written as background",) if confused else ()
    return replace(sample, mask=mask, labels=target), notes
