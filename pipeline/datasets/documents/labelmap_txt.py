"""``labelmap.txt`` of CVAT and datumaro written: ``name:r,g,b:parts:actions``, a class per line."""

from dataclasses import replace
from typing import Final

from maskmill.pipeline.datasets.vocabulary import refuse_names
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import VOID_COLOR, Color, LabelMap, voc_color

FIRST_LINE: Final = "# label:color_rgb:parts:actions\n"
BLACK: Final[Color] = (0, 0, 0)


def labelmap_to_text(labels: LabelMap) -> str:
    """The file for a label map in its own colours.

    Raises:
        SettingsError: a class name that the file cannot hold.
    """
    refuse_unwritable(labels)
    lines = [
        f"{entry.name}:{entry.color[0]},{entry.color[1]},{entry.color[2]}::\n"
        for entry in labels.classes
    ]
    return FIRST_LINE + "".join(lines)


def refuse_unwritable(labels: LabelMap) -> None:
    """Stop at names that break the file.

    Raises:
        SettingsError: a colon or line break in a name, or a name that starts with ``#``.
    """
    refuse_names(labels, ":\r\n", "labelmap.txt")
    bad = [name for name in labels.names if name.startswith("#") or name != name.strip()]
    if bad:
        raise SettingsError(
            f"labelmap.txt cannot hold the class name {bad[0]!r}; rename with --map"
        )


def importable_colors(labels: LabelMap) -> LabelMap:
    """The same classes with colours CVAT can tell apart: background black, no other twice.

    Classes whose colour is black, void or taken get the first free one of the VOC colormap.

    Raises:
        SettingsError: more classes than the VOC colormap has colours.
    """
    taken: set[Color] = {BLACK, VOID_COLOR}
    colors: dict[int, Color] = {}
    for entry in labels.classes:
        if entry.is_background:
            colors[entry.index] = BLACK
        elif entry.color not in taken:
            taken.add(entry.color)
            colors[entry.index] = entry.color
    for entry in labels.classes:
        if entry.index not in colors:
            free = next((one for one in map(voc_color, range(1, 255)) if one not in taken), None)
            if free is None:
                raise SettingsError("there are not enough colours for so many classes; merge some")
            taken.add(free)
            colors[entry.index] = free
    return replace(
        labels,
        classes=tuple(replace(entry, color=colors[entry.index]) for entry in labels.classes),
    )
