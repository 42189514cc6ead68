"""Label maps made from what a dataset says about its classes, and documents read with care."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from maskmill.schemas.errors import DocumentFailure, ErrorCode, SettingsError
from maskmill.schemas.labels import Color, LabelClass, LabelMap, voc_color

BACKGROUND_NAMES: Final = ("background", "__background__", "_background_")


def is_background_name(name: str) -> bool:
    """True for the names that stand for "no object" in the datasets we know."""
    return name.strip().lower() in BACKGROUND_NAMES


def labels_with_background(
    name: str,
    names: Sequence[str],
    *,
    colors: Mapping[str, Color] | None = None,
    category_ids: Mapping[str, int] | None = None,
    things: Sequence[str] = (),
    supercategories: Mapping[str, str] | None = None,
) -> LabelMap:
    """Classes in the given order behind a background at index 0, which is added where missing.

    Category ids are kept where all are above 0, else they are the class indices.
    """
    background = next((entry for entry in names if is_background_name(entry)), "background")
    ordered = [background, *(entry for entry in names if entry != background)]
    ids = category_ids or {}
    keep_ids = all(ids.get(entry, 0) > 0 for entry in ordered[1:])
    return LabelMap(
        name=name,
        classes=tuple(
            LabelClass(
                index=index,
                name=entry,
                color=(colors or {}).get(entry, voc_color(index % 256)),
                category_id=0 if index == 0 else ids[entry] if keep_ids else index,
                is_background=index == 0,
                is_thing=entry in things,
                supercategory=(supercategories or {}).get(entry, ""),
            )
            for index, entry in enumerate(ordered)
        ),
    )


def labels_in_order(
    name: str, names: Sequence[str], colors: Mapping[str, Color] | None = None
) -> LabelMap:
    """Classes whose index is their place in the list, with background only where it is named.

    Raises:
        SettingsError: no name, or one twice.
    """
    at = next((place for place, entry in enumerate(names) if is_background_name(entry)), None)
    palette = [
        (colors or {}).get(entry, voc_color(place % 256)) for place, entry in enumerate(names)
    ]
    return LabelMap.from_names(name, names, colors=palette, background=at)


def labels_from_categories(categories: Sequence[Mapping[str, Any]], name: str) -> LabelMap:
    """COCO ``categories`` as a label map, in category id order.

    Raises:
        DocumentFailure: an entry without id or name, or with values of the wrong kind.
        SettingsError: two categories of one name.
    """
    try:
        ordered = sorted(categories, key=lambda entry: int(entry["id"]))
        names = [str(entry["name"]) for entry in ordered]
        return labels_with_background(
            name,
            names,
            colors={
                str(entry["name"]): _color(entry["color"]) for entry in ordered if "color" in entry
            },
            category_ids={str(entry["name"]): int(entry["id"]) for entry in ordered},
            things=[str(entry["name"]) for entry in ordered if entry.get("isthing", 0)],
            supercategories={
                str(entry["name"]): str(entry.get("supercategory") or "") for entry in ordered
            },
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{name}: a category needs an id and a name ({error!r})"
        ) from error


def labels_or(options_labels: LabelMap | None, what: str) -> LabelMap:
    """The labels the user gave.

    Raises:
        SettingsError: none given; ``what`` says which format needs them.
    """
    if options_labels is None:
        raise SettingsError(f"{what} does not name its classes: give them with --labels")
    return options_labels


def index_by_name(labels: LabelMap) -> dict[str, int]:
    """Class index by name."""
    return {entry.name: entry.index for entry in labels.classes}


def known_index(by_name: Mapping[str, int], label: object, name: str) -> int:
    """The class index of a label in a document.

    Raises:
        DocumentFailure: UNKNOWN_CLASS, with the names there are.
    """
    index = by_name.get(label) if isinstance(label, str) else None
    if index is None:
        known = ", ".join(list(by_name)[:20])
        raise DocumentFailure(
            ErrorCode.UNKNOWN_CLASS, f"{name}: no class {label!r} in the label map; it has: {known}"
        )
    return index


def parse_json(data: bytes, name: str) -> Any:
    """A JSON document.

    Raises:
        DocumentFailure: not UTF-8, not JSON, or nested too deeply.
    """
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name} is not valid JSON: {error}") from error


def to_json(document: Any) -> bytes:
    """UTF-8 JSON without blanks, the same bytes for the same document."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def text_lines(data: bytes, name: str) -> list[str]:
    """The lines of a UTF-8 text, without line ends, blank ones left out.

    Raises:
        DocumentFailure: not UTF-8.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name} is not UTF-8: {error}") from error
    return [line for line in text.splitlines() if line.strip()]


def refuse_names(labels: LabelMap, forbidden: str, what: str) -> None:
    """Stop before a class name breaks the target's own file.

    Raises:
        SettingsError: a class name with one of the ``forbidden`` characters.
    """
    bad = [name for name in labels.names if any(sign in name for sign in forbidden)]
    if bad:
        raise SettingsError(
            f"{what} cannot hold the class name {bad[0]!r} (one of {forbidden!r} in it); "
            "rename it with --map"
        )


def _color(value: Sequence[Any]) -> Color:
    red, green, blue = (int(channel) for channel in value)
    return red, green, blue
