"""What a pulled image has in its row: its mask, and how far it is from the prediction."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from maskmill.pipeline.datasets.left_out import LeftOut, sentence
from maskmill.pipeline.masks.segments import class_statistics
from maskmill.pipeline.prelabel.writers.mask_file import mask_to_png
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.labels import LabelMap

KEPT, CHANGED, NEW = "kept", "changed", "new"


def mask_columns(
    layout: RunLayout, output: str, mask: LabelMask, labels: LabelMap
) -> dict[str, Any]:
    """Write an (H, W) mask; the columns of PULLED that tell of it.

    Raises:
        MaskFailure: it holds a value that is no class.
    """
    path = f"masks/{output}.png"
    data = mask_to_png(mask, labels)
    classes = class_statistics(mask, labels)
    layout.write(path, data)
    return {
        "width": mask.shape[1], "height": mask.shape[0], "mask_path": path,
        "mask_sha256": hashlib.sha256(data).hexdigest(), "classes": classes,
    }  # fmt: skip


def sent_mask(mask: LabelMask, labels: LabelMap) -> LabelMask:
    """A mask as annotators saw it: what was ignored had no shape, and is background for them."""
    if labels.background_index is None:
        return mask
    seen = mask.copy()
    seen[mask == labels.ignore_index] = labels.background_index
    return seen


def change_columns(
    mask: LabelMask, prediction: LabelMask | None, *, is_new: bool
) -> dict[str, Any]:
    """``change`` and the pixels that differ from the prediction, where there was one.

    A prediction of another size cannot be compared: then the annotation counts as changed.
    """
    if is_new or prediction is None or prediction.shape != mask.shape:
        return {"change": NEW if is_new else CHANGED}
    differing = int(np.count_nonzero(mask != prediction))
    return {
        "change": CHANGED if differing else KEPT,
        "changed_pixels": differing,
        "changed_fraction": differing / mask.size,
    }


def told_left_out(left_out: LeftOut) -> list[str]:
    """What of an annotation is not in the mask, in words."""
    return [sentence(one, count) for one, count in sorted(left_out.items()) if count]


def told_counts(counts: Mapping[str, int]) -> list[str]:
    """``prediction 3``, ``manual 1``."""
    return [f"{name} {count}" for name, count in sorted(counts.items())]
