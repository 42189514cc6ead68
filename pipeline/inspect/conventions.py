"""Which dataset's convention a set of masks most likely follows, and why."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from maskmill.pipeline.datasets.recognition import Recognition
from maskmill.pipeline.inspect.census import FileCensus
from maskmill.schemas.labels import VOID_COLOR, Color, LabelMap, builtin, voc_color

LABEL_IDS_OF_STREETS: Final = {7, 11, 21, 23}  # road, building, vegetation, sky
MOST_OF_A_MASK: Final = 512  # colours of one file
SMALL_INSTANCE: Final = 32
COLORED_SETS: Final = {
    "voc": "voc colours",
    "camvid": "camvid",
    "cityscapes": "cityscapes colours",
    "lfw_parts": "lfw parts",
    "ade20k": "ade20k colours",
}
"""Label map -> what its colour masks are called, most frequent first."""
FEW_INSTANCES: Final = 3
CLASSES_OF_A_STREET: Final = 6  # a street scene has more classes than a VOC photo


@dataclass(frozen=True, slots=True)
class Convention:
    """A guess. ``format`` is the ``--from`` to use, ``labels`` the built-in label map or ''."""

    name: str
    format: str
    labels: str
    reason: str


@dataclass(frozen=True, slots=True)
class SetCensus:
    """A set of files as one: all values and colours, and the names that give it away."""

    files: tuple[FileCensus, ...]
    names: tuple[str, ...]
    layouts: tuple[Recognition, ...] = ()  # what the tree around the masks is known as

    def lies_in(self, *formats: str) -> bool:
        """True where the tree is a dataset of one of these formats."""
        return any(layout.format in formats for layout in self.layouts)

    @property
    def values(self) -> frozenset[int]:
        """Every stored value."""
        return frozenset(value for file in self.files for value in file.values)

    @property
    def colors(self) -> frozenset[Color]:
        """Every colour of the RGB files."""
        return frozenset(color for file in self.files for color in file.colors)

    @property
    def modes(self) -> dict[str, int]:
        """Files by mode."""
        found: dict[str, int] = {}
        for file in self.files:
            found[file.mode] = found.get(file.mode, 0) + 1
        return found

    @property
    def classes_per_file(self) -> float:
        """Mean number of distinct values of a file."""
        return float(np.mean([file.num_distinct for file in self.files] or [0]))


def likely_convention(
    files: Iterable[FileCensus],
    names: Sequence[str] = (),
    layouts: Iterable[Recognition] = (),
) -> Convention:
    """The first rule that fits, most telling first.

    ``names`` are all files of the tree, ``layouts`` what they are recognised as.
    """
    readable = tuple(file for file in files if not file.failure)
    sound = tuple(file for file in readable if not file.is_lossy and not _is_noisy(file))
    whole = SetCensus(sound or readable, tuple(names), tuple(layouts))
    for rule in _RULES:
        found = rule(whole)
        if found is not None:
            return found
    return Convention("unknown", "masks", "", "no known convention fits; give --labels")


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
    if any(whole.colors <= _colors_of(name) for name in ("voc", "camvid", "cityscapes")):
        return None
    reason = f"RGB without blue: {len(classes)} values of red, green counts instances"
    return Convention("panoptic in two channels", "panoptic_two_channels", "", reason)


def _panoptic(whole: SetCensus) -> Convention | None:
    """Many colours, each at home in one file: ids, not classes."""
    colored = [file for file in whole.files if file.colors and not file.is_lossy]
    if not colored or len(colored) < len(whole.files):
        return None
    known = [_colors_of(name) for name in COLORED_SETS]
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


def _binary(whole: SetCensus) -> Convention | None:
    if whole.colors or not whole.values or not whole.values <= {0, 255} or 255 not in whole.values:
        return None
    return Convention("binary 0/255", "binary", "", "only the values 0 and 255: 255 is a class")


def _grey_voc(whole: SetCensus) -> Convention | None:
    """Grey levels that are the luminance of VOC's colours: a palette PNG went through grey."""
    levels = whole.values - {0}
    telling = {level for level in levels if level > 20}
    if whole.colors or not telling or not levels <= _luminances() or set(whole.modes) - {"L"}:
        return None
    if len(telling) < 2 and 255 in telling:
        return None
    reason = "grey levels are the luminance of VOC colours: palette masks were converted to grey"
    return Convention("voc as luminance", "masks", "voc", reason)


def _voc(whole: SetCensus) -> Convention | None:
    palettes = [file.palette for file in whole.files if file.mode == "P"]
    if palettes and all(kind == "voc" for kind in palettes) and len(palettes) == len(whole.files):
        if whole.values <= {*range(21), 255}:
            reason = "palette PNGs in VOC's colours, indices 0 to 20 and 255"
            name = "voc" if whole.lies_in("voc", "cvat_mask") else "palette"
            return Convention("voc", name, "voc", reason)
        reason = "palette PNGs in VOC's colours with more classes than VOC's 21"
        return Convention("palette", "palette", "", reason)
    return None


def _known_colors(whole: SetCensus) -> Convention | None:
    if not whole.colors or whole.values:
        return None
    for name, label in COLORED_SETS.items():
        if whole.colors <= _colors_of(name):
            reason = f"every colour is one of {name}'s"
            return Convention(label, "color", name, reason)
    return None


def _mixed(whole: SetCensus) -> Convention | None:
    """Some files hold colours, others indices, of one and the same set."""
    if not whole.colors or not whole.values:
        return None
    for name in COLORED_SETS:
        indices = {*range(len(builtin(name).classes)), 255}
        if whole.colors <= _colors_of(name) and whole.values <= indices:
            reason = f"colours of {name} in some files, its indices in others"
            return Convention(f"{name}, colours and indices", "masks", name, reason)
    return None


def _cityscapes(whole: SetCensus) -> Convention | None:
    by_name = {
        kind: any(name.endswith(f"_gtFine_{kind}.png") for name in whole.names)
        for kind in ("labelIds", "labelTrainIds")
    }
    values = whole.values - {255}
    if whole.colors or not values:
        return None
    in_ids = max(values) <= 33
    if by_name["labelIds"] and in_ids and not by_name["labelTrainIds"]:
        return Convention(
            "cityscapes labelIds", "cityscapes", "cityscapes_labelids", "file names and values"
        )
    if in_ids and max(values) > 20 and len(LABEL_IDS_OF_STREETS & values) >= 3:
        reason = f"grey indices up to {max(values)} with road 7, building 11, vegetation 21, sky 23"
        return Convention("cityscapes labelIds", "indexed", "cityscapes_labelids", reason)
    is_train = max(values) <= 18 and (
        by_name["labelTrainIds"] or whole.classes_per_file >= CLASSES_OF_A_STREET
    )
    if is_train:
        reason = f"grey indices 0 to 18 and 255, {whole.classes_per_file:.1f} classes per file"
        return Convention("cityscapes trainIds", "indexed", "cityscapes", reason)
    return None


def _ade20k(whole: SetCensus) -> Convention | None:
    values = whole.values - {255}
    if whole.colors or not values or max(values) > 150:
        return None
    named = any("/annotations/" in f"/{name}" or "/ADE_" in f"/{name}" for name in whole.names)
    if max(values) > 33 or (named and max(values) > 20):
        reason = f"grey indices up to {max(values)}, at most 150"
        layout = any("/annotations/" in f"/{name}" for name in whole.names)
        return Convention("ade20k", "ade20k" if layout else "indexed", "ade20k", reason)
    return None


def _indices(whole: SetCensus) -> Convention | None:
    values = whole.values - {255}
    if whole.colors or not whole.values:
        return None
    if values and max(values) <= 20 and set(whole.modes) <= {"L", "P"}:
        reason = f"indices up to {max(values)} that nothing names: give --labels"
        return Convention("indices", "indexed", "", reason)
    reason = f"{len(values)} different indices up to {max(values, default=0)}"
    return Convention("indices", "masks", "", reason)


def _by_color(whole: SetCensus) -> Convention | None:
    if not whole.colors:
        return None
    reason = f"{len(whole.colors)} colours of no set that is known here; give --labels"
    return Convention("colours", "color", "", reason)


_RULES: Final[tuple[Callable[[SetCensus], Convention | None], ...]] = (
    _two_channels, _panoptic, _binary, _grey_voc, _voc, _known_colors, _mixed, _cityscapes,
    _ade20k, _indices, _by_color,
)  # fmt: skip


def label_map_of(convention: Convention) -> LabelMap | None:
    """The built-in label map of a guess, None where it has none."""
    return builtin(convention.labels) if convention.labels else None


@cache
def _colors_of(name: str) -> frozenset[Color]:
    return frozenset({entry.color for entry in builtin(name).classes} | {VOID_COLOR, (0, 0, 0)})


@cache
def _luminances() -> frozenset[int]:
    """ITU-R 601 grey levels of VOC's 21 colours and void, as Pillow and OpenCV round them."""
    colors = np.array([*(voc_color(index) for index in range(21)), VOID_COLOR], dtype=np.float64)
    exact = colors @ np.array([0.299, 0.587, 0.114])
    return frozenset(np.floor(exact).astype(int).tolist() + np.ceil(exact).astype(int).tolist())
