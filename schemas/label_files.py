"""The one reader of label files, whatever program wrote them: text of a file -> LabelMap.

Facts: CVAT's format-smask.md and format-camvid.md, labelme's labels.txt, ADE20K's objectInfo.
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from maskmill.schemas.errors import SettingsError
from maskmill.schemas.json_text import told_json
from maskmill.schemas.label_documents import (
    json_form,
    json_to_labels,
    map_name,
    yaml_to_labels,
)
from maskmill.schemas.labels import (
    VOID_COLOR,
    Color,
    LabelMap,
    builtin,
    builtin_names,
    checked_color,
    labels_in_order,
    voc_color,
)

IGNORED: Final = "ignored"
"""A last line of labelmap.txt of this name and the void colour is no class."""
LABELME_IGNORE: Final = "__ignore__"
"""labelme's name for pixels of no class, in its lists of names."""

_YAML_NAMES = re.compile(r"^names\s*:", re.MULTILINE)
_COLOR_LINE = re.compile(r"(\d+)\s+(\d+)\s+(\d+)\s+(\S.*)")
_NUMBERED_LINE = re.compile(r"(\d+)(?:\s*[:,;=\t]\s*|\s+)(\S.*)")
_NUMBER_COLUMNS = ("idx", "pixel value", "index", "id", "value")
_NAME_COLUMNS = ("name", "class", "label")


def load_label_map(name_or_path: str) -> LabelMap:
    """A built-in label map by name, or one read from a file whose kind is seen from its content.

    Raises:
        SettingsError: neither a built-in name nor a readable file; the line that does not fit.
    """
    return open_label_map(name_or_path)[0]


def open_label_map(name_or_path: str) -> tuple[LabelMap, str]:
    """(the label map, what its file was recognised as). Raises as :func:`load_label_map`."""
    if name_or_path in builtin_names():
        return builtin(name_or_path), "built in"
    try:
        text = Path(name_or_path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # not UTF-8, or a NUL in the path
        raise SettingsError(
            f"labels {name_or_path!r}: {error}; give a label file or one of: "
            f"{', '.join(builtin_names())}"
        ) from error
    labels = parse_label_map(text, name=name_or_path)
    return labels, _form_of(text, name_or_path)


def parse_label_map(text: str, *, name: str, kind: str | None = None) -> LabelMap:
    """The label map in the text of a label file.

    Args:
        text: what the file holds.
        name: the file, for messages; the map is called by its stem, unless it names itself.
        kind: a key of KINDS; None to see it from the name's ending or the text.

    Raises:
        SettingsError: text of no kind we know, or a line that does not fit its kind; the message
            names file and line.
    """
    try:
        labels = KINDS[kind or kind_of(text, name)](text, name)
    except SettingsError as error:
        message = str(error)
        raise SettingsError(message if name in message else f"{name}: {message}") from error
    return labels


def kind_of(text: str, name: str = "") -> str:
    """The key of KINDS whose files look like this one.

    An ending that says what a file is decides: a broken ``.yaml`` is no list of names.
    """
    by_ending = _ENDINGS.get(PurePosixPath(name).suffix.lower())
    if by_ending is not None:
        return by_ending
    if text.lstrip().startswith(("{", "[")):
        return "json"
    if _YAML_NAMES.search(text):
        return "yaml"
    lines = [line for _, line in _lines(text)]
    if any(line.count(":") >= 3 for line in lines):
        return "labelmap"
    if any(_COLOR_LINE.fullmatch(line) for line in lines):
        return "label_colors"
    return "csv" if lines and _columns(lines[0]) else "names"


def _form_of(text: str, name: str) -> str:
    """What a label file is called that has been read already."""
    kind = kind_of(text, name)
    if kind == "json":
        return json_form(told_json(text, name), name).title
    if kind == "names" and _numbered([line for _, line in _lines(text)]):
        return "numbered names, one per line"
    return TITLES[kind]


def _from_labelmap(text: str, name: str) -> LabelMap:
    """CVAT and datumaro: ``name:r,g,b:parts:actions``; line order is index order."""
    colors: dict[str, Color] = {}
    for number, line in _some_lines(text, name):
        fields = line.split(":")
        if len(fields) != 4:
            raise SettingsError(
                f"{name}, line {number}: {len(fields)} fields, name:r,g,b:parts:actions has 4; a "
                "colon inside a name cannot be written in this format"
            )
        label = _new_name(fields[0], colors, f"{name}, line {number}")
        channels = fields[1].split(",") if fields[1].strip() else None
        colors[label] = _color(channels, len(colors), f"{name}, line {number}")
    if len(colors) > 1 and list(colors.items())[-1] == (IGNORED, VOID_COLOR):
        del colors[IGNORED]  # only as the last line: before others it takes an index
    return labels_in_order(map_name(name), list(colors), colors)


def _from_label_colors(text: str, name: str) -> LabelMap:
    """CamVid: ``R G B name``, or a name alone; a first class of colour 0 0 0 is background."""
    colors: dict[str, Color] = {}
    first_is_black = False
    for number, line in _some_lines(text, name):
        match = _COLOR_LINE.fullmatch(line)
        label = _new_name(match.group(4) if match else line, colors, f"{name}, line {number}")
        channels = match.groups()[:3] if match else None
        color = _color(channels, len(colors), f"{name}, line {number}")
        first_is_black |= not colors and match is not None and color == (0, 0, 0)
        colors[label] = color
    labels = labels_in_order(map_name(name), list(colors), colors)
    if labels.background_index is not None or not first_is_black:
        return labels
    return LabelMap.from_names(labels.name, list(colors), colors=list(colors.values()))


def _from_csv(text: str, name: str) -> LabelMap:
    """A table with a column of names, of class numbers or not, of colours or not.

    ADE20K's ``objectInfo`` counts from 1: 0 is ``other``, its background. So it is in any table
    that counts from 1.
    """
    lines = [line for _, line in _some_lines(text, name)]
    number_column, name_column, delimiter = _columns(lines[0]) or ("", "", ",")
    rows = [
        {str(key).strip().lower(): str(value or "").strip() for key, value in row.items()}
        for row in csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)
    ]
    if not rows or not name_column:
        raise SettingsError(f"{name}: a table of classes needs a column Name and a row")
    numbers = [row[number_column] for row in rows] if number_column else []
    starts = [[str(first + place) for place in range(len(rows))] for first in (0, 1)]
    if numbers and numbers not in starts:
        raise SettingsError(f"{name}: the numbers in {number_column!r} must count from 0 or 1")
    names = [row[name_column] for row in rows]
    if not all(names):
        raise SettingsError(f"{name}: row {names.index('') + 1} has no name")
    if numbers and numbers == starts[1]:
        return LabelMap.from_names(map_name(name), ["other", *names], colors=_voc(len(names) + 1))
    colored = "r" in rows[0] and "g" in rows[0] and "b" in rows[0]
    colors = {
        label: _color([row["r"], row["g"], row["b"]] if colored else None, place, name)
        for place, (label, row) in enumerate(zip(names, rows, strict=True))
    }
    return labels_in_order(map_name(name), names, colors)


def _from_names(text: str, name: str) -> LabelMap:
    """One name a line, numbered or not; labelme's ``__ignore__`` is no class.

    Numbers that do not count from 0 are refused: as names they would be nonsense.
    """
    listed = _some_lines(text, name)
    odd = next((number for number, line in listed if line.endswith(("{", "}"))), None)
    if odd is not None:
        raise SettingsError(
            f"{name}, line {odd}: a brace; this is no list of names. Write one class name a line"
        )
    names = [line for _, line in listed if line != LABELME_IGNORE]
    numbered = _numbered(names)
    if numbered and [number for number, _ in numbered] != list(range(len(names))):
        raise SettingsError(
            f"{name}: the numbers before the names must count from 0; the first is {names[0]!r}"
        )
    return labels_in_order(map_name(name), [label for _, label in numbered] or names)


def _numbered(lines: Sequence[str]) -> list[tuple[int, str]]:
    """(number, name) of lines that all are ``0 name``, ``0: name`` or ``0,name``; else none."""
    found = [match for match in map(_NUMBERED_LINE.fullmatch, lines) if match]
    is_list = len(found) == len(lines)
    return [(int(match.group(1)), match.group(2)) for match in found] if is_list else []


KINDS: Final[dict[str, Callable[[str, str], LabelMap]]] = {
    "json": json_to_labels,
    "yaml": yaml_to_labels,
    "labelmap": _from_labelmap,
    "label_colors": _from_label_colors,
    "csv": _from_csv,
    "names": _from_names,
}
"""Kind of file -> (text, file name) -> LabelMap. Raises SettingsError."""

TITLES: Final = {
    "yaml": "names of ultralytics' data.yaml",
    "labelmap": "labelmap.txt of CVAT",
    "label_colors": "label_colors.txt of CamVid",
    "csv": "table of classes",
    "names": "names, one per line",
}
"""Kind of file -> what it is called; JSON is called by its form."""

_ENDINGS: Final = {".json": "json", ".yaml": "yaml", ".yml": "yaml", ".csv": "csv"}


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """(number from 1, line without blanks at its ends); comments and blank lines left out."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    for number, line in enumerate(plain.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.strip()


def _some_lines(text: str, name: str) -> list[tuple[int, str]]:
    lines = list(_lines(text))
    if not lines:
        raise SettingsError(f"{name} names no class")
    return lines


def _columns(header: str) -> tuple[str, str, str] | None:
    """(column of numbers or '', column of names, delimiter) of a table's first line."""
    for delimiter in (",", "\t", ";"):
        columns = [column.strip().lower() for column in header.split(delimiter)]
        label = next((one for one in _NAME_COLUMNS if one in columns), None)
        number = next((one for one in _NUMBER_COLUMNS if one in columns), "")
        if label and (number or {"r", "g", "b"} <= set(columns)):
            return number, label, delimiter
    return None


def _new_name(text: str, known: Mapping[str, Color], where: str) -> str:
    label = text.strip()
    if not label or label in known:
        reason = f"class {label!r} is there twice" if label else "a class without a name"
        raise SettingsError(f"{where}: {reason}")
    return label


def _color(channels: Sequence[str] | None, place: int, where: str) -> Color:
    """The colour told, or the VOC colour of the place."""
    if channels is None:
        return voc_color(place % 256)
    try:
        return checked_color([int(channel) for channel in channels])
    except ValueError as error:
        raise SettingsError(
            f"{where}: {','.join(channels)} is no colour r,g,b ({error})"
        ) from error


def _voc(count: int) -> list[Color]:
    return [voc_color(place % 256) for place in range(count)]
