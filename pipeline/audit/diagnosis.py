"""Mistakes that have a name: swapped classes, off by one, colours read as grey; all together."""

from collections.abc import Callable
from typing import Final

import numpy as np

from maskmill.pipeline.audit.faults import Fault
from maskmill.pipeline.audit.mishaps import (
    exchanged_files,
    missing_files,
    moved_masks,
    repeated_masks,
    resized_masks,
    swapped_in_images,
    turned_masks,
)
from maskmill.pipeline.audit.rings import rings
from maskmill.pipeline.audit.tally import AuditTally
from maskmill.schemas.arrays import ConfusionCounts
from maskmill.schemas.text import count_of


def diagnose(tally: AuditTally) -> list[Fault]:
    """Every fault that the sums show, in the order of ``DIAGNOSES``."""
    return [fault for check in DIAGNOSES for fault in check(tally)]


def off_by_one(tally: AuditTally) -> list[Fault]:
    """Most classes are predicted as their neighbour in the label map, all to the same side."""
    shift = _shift_of_classes(tally.matrix)
    if not shift:
        return []
    more = "one more" if shift > 0 else "one less"
    return [
        Fault(
            "off_by_one",
            f"most classes of the truth are predicted as the index {more} than theirs: one side "
            "counts from 0, the other from 1 (reduce_zero_label); shift one side with --map",
        )
    ]


def _shift_of_classes(matrix: ConfusionCounts) -> int:
    """+1 or -1 where most classes present in the truth are predicted that far off, else 0."""
    counts = matrix[:-1, :-1]
    present = matrix[:-1].sum(axis=1) > 0
    for shift in (1, -1):
        inside = np.zeros(len(counts), dtype=bool)
        inside[: len(counts) - 1] = True
        inside = inside if shift > 0 else inside[::-1]
        rows = np.flatnonzero(present & inside)
        wrong = counts[rows, rows + shift] > counts[rows, rows]
        if len(rows) >= 2 and wrong.mean() >= 0.8:
            return shift
    return 0


def swapped_classes(tally: AuditTally) -> list[Fault]:
    """Classes that are mostly predicted as each other, in rings of two or more."""
    if _shift_of_classes(tally.matrix):
        return []
    names = tally.labels.names
    faults = []
    for ring in rings(tally.matrix[:-1, :-1]):
        words = " -> ".join(names[index] for index in (*ring, ring[0]))
        if len(ring) == 2:
            told = f"{names[ring[0]]!r} and {names[ring[1]]!r} are mostly predicted as each other"
            name = "swapped_classes"
        else:
            told, name = f"classes are mostly predicted in a ring: {words}", "permuted_classes"
        message = f"{told}: the two sides number their classes differently; give --map"
        faults.append(Fault(name, message))
    return faults


def colors_read_as_grey(tally: AuditTally) -> list[Fault]:
    """Strange values that are the luminance of the label map's colours."""
    faults = []
    greys = {_luminance(entry.color): entry.name for entry in tally.labels.classes}
    for side in ("truth", "prediction"):
        values = {
            value: one.pixels for (where, value), one in tally.strange.items() if where == side
        }
        fitting = {value: greys[value] for value in values if value in greys}
        share = sum(values[value] for value in fitting) / max(1, sum(values.values()))
        if fitting and share >= 0.8:
            shown = ", ".join(f"{value} = {name}" for value, name in sorted(fitting.items())[:4])
            message = (
                f"values of the {side} are the brightness of the label map's colours ({shown}): "
                "RGB masks were turned to grey; take the RGB files"
            )
            faults.append(Fault("colors_read_as_grey", message))
    return faults


def _luminance(color: tuple[int, int, int]) -> int:
    """ITU-R 601 luminance in the integers Pillow computes it with."""
    red, green, blue = color
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def strange_values(tally: AuditTally) -> list[Fault]:
    """Values that are no class, by side: how many pixels of how many files."""
    total = max(1, tally.pixels)
    faults = []
    for (side, value), one in sorted(tally.strange.items(), key=lambda item: -item[1].pixels)[:8]:
        effect = "left out of every number" if side == "truth" else "counted as wrong"
        message = (
            f"value {value} of the {side} covers {one.pixels / total:.2%} of all pixels, in "
            f"{count_of(one.files, 'file')} ({', '.join(one.examples[:2])}); not in the label "
            f"map, so {effect}"
        )
        faults.append(Fault("value_out_of_range", message))
    return faults


def ignored_predictions(tally: AuditTally) -> list[Fault]:
    """Predictions of ignore: they count as misses, which surprises."""
    wrong = int(tally.matrix[:-1, -1].sum())
    strange = sum(one.pixels for (side, _), one in tally.strange.items() if side == "prediction")
    share = (wrong - strange) / max(1, int(tally.matrix[:-1].sum()))
    if share < 0.001:
        return []
    message = f"{share:.2%} of the counted pixels are predicted as ignore; they count as misses"
    return [Fault("ignored_predictions", message)]


def binary_as_ignore(tally: AuditTally) -> list[Fault]:
    """A side that holds nothing but class 0 and ignore: 0/255 masks of one object class."""
    faults = []
    for side, matrix in (("truth", tally.matrix), ("prediction", tally.matrix.T)):
        pixels = matrix.sum(axis=1)
        if pixels[0] and pixels[-1] and not pixels[1:-1].any() and not tally.strange:
            message = (
                f"the {side} holds only {tally.labels.names[0]!r} and ignore: if these are 0/255 "
                f"masks, read them with --{side}-format binary and a label map of two classes"
            )
            faults.append(Fault("binary_read_as_ignore", message))
    return faults


def contradicting_truth(tally: AuditTally) -> list[Fault]:
    """The same picture twice, labelled differently."""
    if tally.first_contradiction is None:
        return []
    first = " and ".join(tally.first_contradiction)
    told = count_of(tally.contradictions, "picture occurs", "pictures occur")
    message = f"{told} twice with different truth masks, for example {first}"
    return [Fault("contradicting_truth", message)]


def never_seen(tally: AuditTally) -> list[Fault]:
    """Classes of the label map that the truth never holds."""
    absent = [
        name for name, seen in zip(tally.labels.names, tally.images_with_class[:, 0], strict=True)
        if not seen
    ]  # fmt: skip
    if not absent or not tally.ok:
        return []
    shown = ", ".join(absent[:6]) + (", …" if len(absent) > 6 else "")
    told = count_of(len(absent), "class never occurs", "classes never occur")
    them = "them" if absent[1:] else "it"
    message = f"{told} in the truth: {shown}; nothing is known of {them}"
    return [Fault("never_seen_classes", message)]


Diagnosis = Callable[[AuditTally], list[Fault]]

DIAGNOSES: Final[tuple[Diagnosis, ...]] = (
    missing_files, exchanged_files, repeated_masks, resized_masks, turned_masks, moved_masks,
    off_by_one, swapped_classes, swapped_in_images, colors_read_as_grey, binary_as_ignore,
    strange_values, ignored_predictions,
    contradicting_truth, never_seen,
)  # fmt: skip
"""Every check, gravest first."""
