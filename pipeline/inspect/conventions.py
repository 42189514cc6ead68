"""Which dataset's convention a set of masks most likely follows, and why."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Final

import numpy as np

from maskmill.pipeline.datasets.recognition import Recognition
from maskmill.pipeline.inspect.census import FileCensus
from maskmill.pipeline.inspect.evidence import Convention, SetCensus
from maskmill.pipeline.inspect.known_sets import (
    colors_of,
    known_set,
    no_classes,
    several_versions,
)
from maskmill.schemas.labels import VOID_COLOR, LabelMap, voc_color

MOST_OF_A_MASK: Final = 512  # colours of one file
SMALL_INSTANCE: Final = 32
FEW_INSTANCES: Final = 3
PAINTED_SETS: Final = ("voc", "camvid", "cityscapes", "lfw_parts", "ade20k")
"""Label maps in whose colours masks are painted: those are no segment ids."""
NAMING_LAYOUTS: Final = (
    "masks", "cvat_mask", "ultralytics_semantic", "ade20k_full", "huggingface",
    "prelabel", "label_studio_png",
)  # fmt: skip
"""Layouts whose own documents name their classes; others need a list, or are a famous set."""
OTHER_LAYOUTS: Final = (
    "voc", "camvid", "ade20k", "cityscapes", "cityscapes_train_ids", "cityscapes_color",
)  # fmt: skip
"""Layouts that take the classes of a list beside the masks, or of the user."""

MASK_LAYOUTS: Final = (*NAMING_LAYOUTS, *OTHER_LAYOUTS, "panoptic", "coco_pixelmaps")
"""Layouts whose classes are pixels of masks; all others are documents."""


def is_layout(convention: Convention) -> bool:
    """True where the whole tree is meant; ``masks`` also reads masks of any kind that lie loose."""
    is_loose = convention.format == "masks" and convention.name != "masks"
    return convention.format in MASK_LAYOUTS and not is_loose


def likely_convention(
    files: Iterable[FileCensus],
    layouts: Iterable[Recognition] = (),
    *,
    root: str = "",
    listed: LabelMap | None = None,
    is_told: bool = False,
) -> Convention:
    """The first rule that fits, most telling first.

    ``layouts`` are what the tree is recognised as, ``root`` is its path, ``listed`` the classes of
    a list beside the masks; ``is_told``: the user names them.
    """
    readable = tuple(file for file in files if not file.failure)
    sound = tuple(file for file in readable if not file.is_lossy and not _is_noisy(file))
    whole = SetCensus(sound or readable, tuple(layouts), root, listed, is_told)
    for rule in _RULES:
        found = rule(whole) if whole.files else None
        if found is not None:
            return found
    return Convention("unknown", "", "", "no known convention fits")


def _is_noisy(file: FileCensus) -> bool:
    """True where borders are blends: such a file tells nothing about its set."""
    return file.num_distinct > MOST_OF_A_MASK and file.islands > file.num_distinct


def _two_channels(whole: SetCensus) -> Convention | None:
    """Class in R, instance in G, nothing in B: classes come with instances 0, 1, 2 …"""
    if not whole.colors or whole.values or any(blue for _, _, blue in whole.colors):
        return None
    classes = {red for red, _, _ in whole.colors}
    numbered = [color for color in whole.colors if 0 < color[1] < SMALL_INSTANCE]
    if len(numbered) < FEW_INSTANCES or len(classes) == len(whole.colors):
        return None
    if any(whole.colors <= colors_of(name) for name in PAINTED_SETS):
        return None
    reason = f"RGB without blue: {len(classes)} values of red, green counts instances"
    return Convention("panoptic in two channels", "panoptic_two_channels", "", reason)


def _panoptic(whole: SetCensus) -> Convention | None:
    """Many colours, each at home in one file: ids, not classes."""
    colored = [file for file in whole.files if file.colors and not file.is_lossy]
    if not colored or len(colored) < len(whole.files):
        return None
    known = [colors_of(name) for name in PAINTED_SETS]
    if whole.listed is not None:
        known.append(frozenset({entry.color for entry in whole.listed.classes} | {VOID_COLOR}))
    if any(whole.colors <= colors for colors in known):
        return None
    in_files = sum(file.num_distinct for file in colored)
    shared = 1 - len(whole.colors - {(0, 0, 0)}) / max(in_files, 1)
    if whole.lies_in("panoptic") or (
        len(colored) > 1 and shared < 0.2 and in_files > 2 * len(colored)
    ):
        reason = f"RGB with {in_files} colours, hardly any in two files: segment ids"
        return Convention("panoptic", "panoptic", "", reason)
    return None


def _naming_layout(whole: SetCensus) -> Convention | None:
    return _layout(whole, NAMING_LAYOUTS)


def _other_layout(whole: SetCensus) -> Convention | None:
    is_named = whole.listed is not None or whole.is_told
    return _layout(whole, OTHER_LAYOUTS) if is_named else None


def _layout(whole: SetCensus, formats: Sequence[str]) -> Convention | None:
    """The layout of one of ``formats`` that the tree is recognised as."""
    found = next((one for one in whole.layouts if one.format in formats), None)
    return None if found is None else Convention(found.format, found.format, "", found.reason)


def _binary(whole: SetCensus) -> Convention | None:
    values = whole.values
    if whole.colors or len(values) < 1 or len(whole.palettes) > 1:
        return None
    if values <= {0, 255} and 255 in values and not whole.palettes & {"voc", "own"}:
        reason = "only the values 0 and 255: 255 is a class"
        return Convention("binary 0/255", "binary", "", reason)
    return None


def _grey_voc(whole: SetCensus) -> Convention | None:
    """Grey levels that are the luminance of VOC's colours: a palette PNG went through grey."""
    levels = whole.values - {0}
    telling = {level for level in levels if level > 20}
    if whole.colors or not telling or not levels <= _luminances() or set(whole.modes) - {"L"}:
        return None
    if len(telling) < 2 and 255 in telling:
        return None
    reason = (
        "grey levels are the luminance of VOC's colormap: palette masks were turned to grey; take "
        "the palette files"
    )
    return Convention("voc as luminance", "", "", reason)


def _palette(whole: SetCensus) -> Convention | None:
    if whole.colors or not whole.palettes <= {"voc", "own", "grey"} or not whole.values:
        return None
    kind = {
        frozenset({"voc"}): "VOC's colormap, which many tools paint with",
        frozenset({"grey"}): "grey",
    }.get(whole.palettes, "palettes of their own")
    return Convention("palette", "palette", "", f"palette pictures in {kind}; {_span(whole)}")


def _mixed(whole: SetCensus) -> Convention | None:
    """Some files hold colours, others indices."""
    if not whole.colors or not whole.values:
        return None
    reason = f"{len(whole.colors)} colours in some files, indices in others"
    return Convention("colours and indices", "masks", "", reason)


def _indices(whole: SetCensus) -> Convention | None:
    if whole.colors or not whole.values:
        return None
    is_plain = set(whole.modes) <= {"L"}
    return Convention("indices", "indexed" if is_plain else "masks", "", _span(whole))


def _by_color(whole: SetCensus) -> Convention | None:
    if not whole.colors:
        return None
    if all(red == green == blue for red, green, blue in whole.colors):
        return Convention("indices in RGB", "masks", "", "grey levels in three equal channels")
    return Convention("colours", "color", "", f"RGB in {len(whole.colors)} colours")


def _span(whole: SetCensus) -> str:
    plain = whole.values - {255}
    more = " and 255" if 255 in whole.values else ""
    span = f"{min(plain)} to {max(plain)}" if plain else "nothing"
    return f"{len(plain)} different indices, {span}{more}"


_RULES: Final[tuple[Callable[[SetCensus], Convention | None], ...]] = (
    several_versions, _naming_layout, no_classes, _two_channels, _panoptic, known_set,
    _other_layout, _binary, _grey_voc, _palette, _mixed, _indices, _by_color,
)  # fmt: skip


@cache
def _luminances() -> frozenset[int]:
    """ITU-R 601 grey levels of VOC's 21 colours and void, as Pillow and OpenCV round them."""
    colors = np.array([*(voc_color(index) for index in range(21)), VOID_COLOR], dtype=np.float64)
    exact = colors @ np.array([0.299, 0.587, 0.114])
    return frozenset(np.floor(exact).astype(int).tolist() + np.ceil(exact).astype(int).tolist())
