"""Reading label maps from the files people have: own JSON, CVAT, CamVid, COCO categories, names."""

import json
from pathlib import Path
from typing import Any

from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import Color, LabelClass, LabelMap, builtin, builtin_names, voc_color

BACKGROUND_NAMES = frozenset({"background", "_background_", "__background__", "bg"})


def load_label_map(name_or_path: str) -> LabelMap:
    """A built-in label map by name, or one read from a file whose kind is seen from its content.

    Kinds: maskmill's JSON (``classes``), a COCO document (``categories``), CVAT ``labelmap.txt``
    (``name:r,g,b:parts:actions``), CamVid ``label_colors.txt`` (``r g b name``), one name a line.

    Raises:
        SettingsError: neither a built-in name nor a readable file; the line that does not fit.
    """
    if name_or_path in builtin_names():
        return builtin(name_or_path)
    path = Path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"labels {name_or_path!r}: {error}; give a label file or one of: "
            f"{', '.join(builtin_names())}"
        ) from error
    return parse_label_map(text, name=path.stem)


def parse_label_map(text: str, *, name: str) -> LabelMap:
    """The label map in the text of a label file of any kind.

    Raises:
        SettingsError: text of no kind we know, or a line that does not fit its kind.
    """
    if text.lstrip().startswith(("{", "[")):
        return _from_json(text, name)
    lines = [
        (number, line.strip())
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise SettingsError(f"label file {name!r} names no class")
    if all(line.count(":") >= 3 for _, line in lines):
        return _from_entries(name, [_cvat_line(name, *line) for line in lines])
    if all(_starts_with_color(line) for _, line in lines):
        return _from_entries(name, [_camvid_line(name, *line) for line in lines])
    return _from_entries(name, [(line, None) for _, line in lines])


def _from_json(text: str, name: str) -> LabelMap:
    try:
        document: Any = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"label file {name!r} is not JSON: {error}") from error
    if isinstance(document, dict) and "classes" in document:
        return LabelMap.from_dict(document)
    categories = document.get("categories") if isinstance(document, dict) else document
    if isinstance(categories, list) and categories:
        return _from_categories(name, categories)
    raise SettingsError(f"label file {name!r} has neither 'classes' nor 'categories'")


def _from_categories(name: str, categories: list[Any]) -> LabelMap:
    """COCO categories keep their ids; index 0 becomes background, which COCO does not list."""
    try:
        entries = sorted(
            (entry for entry in categories if not _is_background(entry)),
            key=lambda entry: int(entry["id"]),
        )
        listed = [
            LabelClass(
                index=position,
                name=str(entry["name"]),
                category_id=int(entry["id"]),
                color=tuple(entry.get("color", voc_color(position))),
                is_thing=bool(entry.get("isthing", 0)),
                supercategory=str(entry.get("supercategory") or ""),
            )
            for position, entry in enumerate(entries, 1)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(
            f"label file {name!r}: a category needs id and name ({error!r})"
        ) from error
    background = LabelClass(
        index=0, name="background", color=(0, 0, 0), category_id=0, is_background=True
    )
    return LabelMap(name=name, classes=(background, *listed))


def _is_background(entry: dict[str, Any]) -> bool:
    """Some writers list background under id 0, where COCO has none."""
    return int(entry["id"]) == 0 and str(entry["name"]).lower() in BACKGROUND_NAMES


def _from_entries(name: str, entries: list[tuple[str, Color | None]]) -> LabelMap:
    names = [label for label, _ in entries]
    colors = [color or voc_color(index) for index, (_, color) in enumerate(entries)]
    background = 0 if names[0].lower() in BACKGROUND_NAMES else None
    return LabelMap.from_names(name, names, colors=colors, background=background)


def _cvat_line(name: str, number: int, line: str) -> tuple[str, Color | None]:
    fields = line.split(":")
    if len(fields) != 4:
        raise SettingsError(
            f"label file {name!r}, line {number}: {len(fields)} fields, name:r,g,b:parts:actions "
            "has 4; a colon inside a name cannot be written in this format"
        )
    return fields[0], _color(name, number, fields[1].split(",")) if fields[1] else None


def _camvid_line(name: str, number: int, line: str) -> tuple[str, Color | None]:
    red, green, blue, label = line.split(None, 3)
    return label, _color(name, number, [red, green, blue])


def _starts_with_color(line: str) -> bool:
    parts = line.split(None, 3)
    return len(parts) == 4 and all(part.isdigit() for part in parts[:3])


def _color(name: str, number: int, channels: list[str]) -> Color:
    try:
        red, green, blue = (int(channel) for channel in channels)
        if not all(0 <= channel <= 255 for channel in (red, green, blue)):
            raise ValueError("outside 0..255")
    except ValueError as error:
        raise SettingsError(
            f"label file {name!r}, line {number}: {','.join(channels)} is no colour r,g,b ({error})"
        ) from error
    return red, green, blue
