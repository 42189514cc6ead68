"""``label_colors.txt`` of CamVid and datumaro: ``R G B name`` per line; and plain colour care."""

from dataclasses import replace
from typing import Final

from maskmill.pipeline.datasets.vocabulary import is_background_name, text_lines
from maskmill.schemas.errors import DocumentFailure, ErrorCode, SettingsError
from maskmill.schemas.labels import Color, LabelMap, voc_color

BLACK: Final[Color] = (0, 0, 0)


def text_to_labels(data: bytes, name: str) -> LabelMap:
    """Classes in line order; a first class of colour 0,0,0 is the background.

    A line of a name alone takes the VOC colour of its place.

    Raises:
        DocumentFailure: a line of another form, or a name twice.
    """
    colors: dict[str, Color] = {}
    for number, line in enumerate(text_lines(data, name), 1):
        fields = line.split()
        if line.startswith("#"):
            continue
        has_color = len(fields) >= 4 and all(field.isdigit() for field in fields[:3])
        label = " ".join(fields[3:]) if has_color else line.strip()
        if label in colors:
            raise DocumentFailure(
                ErrorCode.MALFORMED, f"{name}, line {number}: class {label!r} is there twice"
            )
        channels = [int(field) for field in fields[:3]] if has_color else voc_color(len(colors))
        red, green, blue = channels
        if max(channels) > 255:
            raise DocumentFailure(
                ErrorCode.MALFORMED, f"{name}, line {number}: {line!r} is no R G B name"
            )
        colors[label] = (red, green, blue)
    if not colors:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name} names no class")
    names = list(colors)
    first_is_background = colors[names[0]] == BLACK or is_background_name(names[0])
    return LabelMap.from_names(
        "camvid", names, colors=list(colors.values()), background=0 if first_is_background else None
    )


def labels_to_text(labels: LabelMap) -> str:
    """The file, with blanks in names as underscores: the parsers in use split at blanks.

    Raises:
        SettingsError: two classes of one name then.
    """
    names = [name.replace(" ", "_") for name in labels.names]
    if len(set(names)) < len(names):
        raise SettingsError(
            "label_colors.txt cannot hold blanks in class names, and without them two classes "
            "have one name; rename one with --map"
        )
    return "".join(
        f"{entry.color[0]} {entry.color[1]} {entry.color[2]} {name}\n"
        for entry, name in zip(labels.classes, names, strict=True)
    )


def without_blanks(labels: LabelMap) -> LabelMap:
    """The label map as it comes back from :func:`labels_to_text`: blanks are underscores."""
    return replace(
        labels,
        classes=tuple(
            replace(entry, name=entry.name.replace(" ", "_")) for entry in labels.classes
        ),
    )
