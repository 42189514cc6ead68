"""One binary file per class, as CelebAMask-HQ has it, merged into one mask and split again."""

from collections.abc import Mapping, Sequence

import numpy as np

from maskmill.pipeline.masks.binary import ON, picture_to_bool
from maskmill.pipeline.masks.picture import index_png, open_picture
from maskmill.pipeline.masks.registry import DecodeOptions
from maskmill.pipeline.masks.values import cast_to_mask, refuse_unknown_values
from maskmill.schemas.arrays import BoolMask, LabelMask
from maskmill.schemas.errors import ErrorCode, MaskFailure, SettingsError
from maskmill.schemas.labels import LabelMap


def merge_binary(
    files: Mapping[str, bytes],
    labels: LabelMap,
    *,
    priority: Sequence[str] | None = None,
    name: str,
    options: DecodeOptions | None = None,
) -> LabelMask:
    """(H, W) mask of one 0/255 (or 0/1) picture per class name.

    ``priority`` names classes from the weakest to the strongest: later ones are painted over
    earlier ones. Default: the order of the label map. Pixels of no class become background, or
    ignore where the map has none. How many pixels were claimed twice goes to ``options.note``.

    Raises:
        SettingsError: a class that the map lacks, or one without a place in ``priority``.
        MaskFailure: no files, sizes that differ, or a picture that is not binary.
    """
    options = options or DecodeOptions()
    order = _painting_order(files, labels, priority)
    if not order:
        raise MaskFailure(ErrorCode.MISSING_TRUTH, f"{name}: no class file to merge")
    layers = {
        label: picture_to_bool(
            open_picture(files[label], name=f"{name} ({label})", max_pixels=options.max_pixels),
            options,
        )
        for label in order
    }
    _refuse_sizes(layers, name)
    background = labels.background_index
    fill = labels.ignore_index if background is None else background
    shape = next(iter(layers.values())).shape
    mask = cast_to_mask(np.full(shape, fill), labels)
    for label, inside in layers.items():
        mask[inside] = labels.index_of(label)
    claims = np.sum(list(layers.values()), axis=0, dtype=np.uint16)
    if (claims > 1).any():
        options.note(
            f"{int((claims > 1).sum())} pixels in several class files: the last in priority"
        )
    return mask


def split_binary(mask: LabelMask, labels: LabelMap) -> dict[str, bytes]:
    """0/255 PNG per class that occurs, background apart, by class name in index order.

    Raises:
        MaskFailure: CANNOT_HOLD for ignored pixels; UNKNOWN_VALUE.
    """
    refuse_unknown_values(mask, labels)
    if (mask == labels.ignore_index).any():
        raise MaskFailure(
            ErrorCode.CANNOT_HOLD, "ignored pixels have no place in one binary file per class"
        )
    present = set(np.unique(mask).tolist())
    return {
        entry.name: index_png(np.where(mask == entry.index, np.uint8(ON), np.uint8(0)))
        for entry in labels.classes
        if entry.index in present and not entry.is_background
    }


def class_of_file(stem: str, labels: LabelMap) -> tuple[str, str] | None:
    """(image part, class name) of a file stem such as ``00001_u_lip``; None where none fits.

    The longest class name wins, so ``l_lip`` is not taken for a class ``lip``.
    """
    for label in sorted(labels.names, key=len, reverse=True):
        if stem.endswith(f"_{label}") and len(stem) > len(label) + 1:
            return stem[: -len(label) - 1], label
    return None


def _painting_order(
    files: Mapping[str, bytes], labels: LabelMap, priority: Sequence[str] | None
) -> list[str]:
    order = list(labels.names if priority is None else priority)
    for label in [*order, *files]:
        labels.index_of(label)
    missing = [label for label in files if label not in order]
    if missing:
        raise SettingsError(f"priority does not say where {', '.join(missing)} comes")
    return [label for label in order if label in files]


def _refuse_sizes(layers: Mapping[str, BoolMask], name: str) -> None:
    shapes = {label: inside.shape for label, inside in layers.items()}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{label} {shape[1]} x {shape[0]}" for label, shape in shapes.items())
        raise MaskFailure(ErrorCode.SIZE_MISMATCH, f"{name}: class files differ in size: {told}")
