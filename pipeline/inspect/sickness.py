"""What is wrong with masks, file by file and as a set; every finding names a remedy."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from maskmill.pipeline.inspect.census import FileCensus
from maskmill.pipeline.inspect.evidence import Convention
from maskmill.pipeline.inspect.known_sets import WHOLE_VISTAS
from maskmill.schemas.labels import VOID_COLOR, Color, LabelMap

Severity = Literal["sick", "odd"]
MANY_ISLANDS: Final = 50
ISLAND_SHARE: Final = 0.005
"""Real hand-made masks have a few islands each; noise has them everywhere."""
BLENDED_COLORS: Final = 256
BLENDED_VALUES: Final = 12
GRADIENT_SHARE: Final = 0.25
"""Hand-made masks stay below 0.01, masks resized by interpolation lie above 0.5."""
SHOWN: Final = 3
CODED: Final = ("panoptic", "panoptic_two_channels", "ade20k_full", "label_studio_png")
"""Formats whose pixels hold numbers of segments or of classes, not indices or colours."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about one file, or about the set (``file`` is '' then). ``sick`` ends in exit 3."""

    kind: str
    severity: Severity
    file: str
    sentence: str


def findings_of(
    files: Sequence[FileCensus],
    convention: Convention,
    labels: LabelMap | None,
    picture_sizes: Mapping[str, tuple[int, int]] | None = None,
) -> list[Finding]:
    """Everything that is sick or odd.

    ``labels`` are the user's, or those of the convention; ``picture_sizes`` (height, width) of
    the picture of each file, by the file's name.
    """
    found = [finding for file in files for finding in _of_file(file, convention, labels)]
    if picture_sizes is not None:
        found += _of_sizes(files, picture_sizes)
    readable = [file for file in files if not file.failure]
    found += _duplicates(readable)
    found += _of_set(readable, convention, labels)
    return found


def _of_file(
    file: FileCensus, convention: Convention, labels: LabelMap | None
) -> Iterator[Finding]:
    if file.failure:
        yield Finding("unreadable", "sick", file.name, file.failure)
        return
    if file.is_lossy:
        yield Finding(
            "lossy",
            "sick",
            file.name,
            f"{file.format} changes pixel values; take the original, or --unknown nearest"
            + (" with --from binary if they are 0/255" if file.mode == "L" else ""),
        )
    elif _is_blended(file, labels, convention):
        yield Finding(
            "blended",
            "sick",
            file.name,
            f"{file.num_distinct} different values that blend at borders: resized or anti-aliased; "
            "resize labels by nearest neighbour only",
        )
    elif labels is not None and _counts_strangers(convention, labels):
        yield from _unknown(file, labels, convention)
    if file.is_empty:
        yield Finding("empty", "odd", file.name, "all pixels are background or ignore")
    if file.orientation != 1:
        yield Finding(
            "exif_orientation",
            "sick",
            file.name,
            f"carries EXIF orientation {file.orientation}: readers disagree about it; remove it",
        )
    if file.islands:
        noise = file.islands >= max(MANY_ISLANDS, ISLAND_SHARE * file.num_pixels)
        severity: Severity = "sick" if noise else "odd"
        yield Finding("islands", severity, file.name, f"{file.islands} one-pixel islands")


def _counts_strangers(convention: Convention, labels: LabelMap) -> bool:
    """False for masks whose pixels are no indices or colours of the map, or may lie outside it."""
    is_set = bool(convention.labels) and labels.name == convention.labels
    may_ignore = convention.unknown == "ignore" and is_set
    return convention.format not in CODED and bool(convention.format) and not may_ignore


def _is_blended(file: FileCensus, labels: LabelMap | None, convention: Convention) -> bool:
    """Many rare values between a few frequent ones: what resizing and JPEG leave behind."""
    if convention.name == "panoptic":
        return False
    if file.gradient_share > GRADIENT_SHARE:
        return True
    if file.colors:
        if labels is None or file.num_distinct > max(BLENDED_COLORS, len(labels.classes) + 1):
            return file.num_distinct > BLENDED_COLORS
        known = {entry.color for entry in labels.classes} | {VOID_COLOR}
        strangers = file.num_distinct - sum(color in known for color in file.colors)
        return strangers > BLENDED_VALUES and _rare_share(file.colors, known) < 0.2
    if labels is None or file.mode not in ("L", "P"):
        return False
    known_values = {*range(len(labels.classes)), labels.ignore_index}
    strangers = sum(value not in known_values for value in file.values)
    return strangers > BLENDED_VALUES and _rare_share(file.values, known_values) < 0.2


def _rare_share(counts: Mapping[Any, int], known: Iterable[object]) -> float:
    """The share of pixels outside ``known``."""
    inside = set(known)
    outside = sum(count for value, count in counts.items() if value not in inside)
    return outside / max(sum(counts.values()), 1)


def _unknown(file: FileCensus, labels: LabelMap, convention: Convention) -> Iterator[Finding]:
    if file.colors:
        known = {entry.color for entry in labels.classes} | {VOID_COLOR}
        strangers = {color: count for color, count in file.colors.items() if color not in known}
        if strangers:
            yield Finding(
                "unknown_color", "sick", file.name, _color_sentence(strangers, file, labels)
            )
        return
    if convention.name.startswith("binary") and len(labels.classes) == 2:
        return
    if set(file.values) == {0, 255} and len(labels.classes) > 2:
        share = file.values[255] / file.num_pixels
        yield Finding(
            "binary_255",
            "sick",
            file.name,
            f"only 0 and 255, and 255 covers {share:.1%}: a binary mask, not ignore; "
            "read it with --from binary",
        )
        return
    known_values = {*range(len(labels.classes)), labels.ignore_index}
    odd = {value: count for value, count in file.values.items() if value not in known_values}
    if odd:
        shown = ", ".join(
            f"{value} ({count / file.num_pixels:.2%})" for value, count in list(odd.items())[:SHOWN]
        )
        yield Finding(
            "unknown_value",
            "sick",
            file.name,
            f"values {shown} are no class of {labels.name!r} (0 to {len(labels.classes) - 1})",
        )


def _color_sentence(strangers: Mapping[Color, int], file: FileCensus, labels: LabelMap) -> str:
    shown = []
    for color, count in list(strangers.items())[:SHOWN]:
        distances = np.linalg.norm(
            labels.color_table().astype(np.float64) - np.array(color), axis=1
        )
        nearest = labels.classes[int(distances.argmin())]
        shown.append(
            f"{color} ({count / file.num_pixels:.2%}), nearest {nearest.name} {nearest.color} "
            f"at distance {distances.min():.0f}"
        )
    more = f" and {len(strangers) - SHOWN} more" if len(strangers) > SHOWN else ""
    return f"unknown colours {'; '.join(shown)}{more}"


def _of_sizes(
    files: Sequence[FileCensus], sizes: Mapping[str, tuple[int, int]]
) -> Iterator[Finding]:
    for file in files:
        if file.failure:
            continue
        size = sizes.get(file.name)
        if size is None:
            yield Finding("missing_image", "sick", file.name, "has no picture of its name")
        elif size == file.size_hw[::-1] and size != file.size_hw:
            yield Finding(
                "orientation_mismatch",
                "sick",
                file.name,
                f"is {file.size_hw[1]} x {file.size_hw[0]}, its picture as shown {size[1]} x "
                f"{size[0]}: turned; EXIF orientation was applied to one of them only",
            )
        elif size != file.size_hw:
            yield Finding(
                "size_mismatch",
                "sick",
                file.name,
                f"is {file.size_hw[1]} x {file.size_hw[0]}, its picture {size[1]} x {size[0]}",
            )


def _duplicates(files: Sequence[FileCensus]) -> Iterator[Finding]:
    groups: dict[str, list[str]] = defaultdict(list)
    for file in files:
        if not file.is_empty and file.num_distinct > 1:
            groups[file.pixels_sha256].append(file.name)
    for names in groups.values():
        for name in names[1:]:
            yield Finding("duplicate", "sick", name, f"has the same pixels as {names[0]}")


def _of_set(
    files: Sequence[FileCensus], convention: Convention, labels: LabelMap | None
) -> Iterator[Finding]:
    if convention.name == WHOLE_VISTAS:
        yield Finding("several_sets", "odd", "", f"{convention.name}: {convention.reason}")
    elif convention.name != "unknown" and not convention.format:
        kind = "luminance" if "luminance" in convention.name else "no_classes"
        yield Finding(kind, "sick", "", f"{convention.name}: {convention.reason}")
    modes = sorted({file.mode for file in files})
    by_color = [file for file in files if file.colors]
    if by_color and len(by_color) < len(files):
        yield Finding(
            "mixed_modes",
            "odd",
            "",
            f"modes {', '.join(modes)} in one set: {len(by_color)} files hold colours, "
            f"{len(files) - len(by_color)} indices; --from masks reads each for what it is",
        )
    values = {value for file in files for value in file.values}
    if labels is not None and values and not by_color:
        yield from _off_by_one(values, labels)


def _off_by_one(values: set[int], labels: LabelMap) -> Iterator[Finding]:
    plain = values - {labels.ignore_index, 0} if 0 not in values else values - {labels.ignore_index}
    if not plain:
        return
    top, bottom, count = max(plain), min(plain), len(labels.classes)
    if bottom >= 1 and top == count:
        yield Finding(
            "off_by_one",
            "sick",
            "",
            f"values run from {bottom} to {top}, the classes of {labels.name!r} from 0 to "
            f"{count - 1}: every value is one too high",
        )
    elif labels.background_index == 0 and labels.ignore_index in values and 0 in values:
        return


def sick(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that end in exit 3."""
    return [finding for finding in findings if finding.severity == "sick"]
