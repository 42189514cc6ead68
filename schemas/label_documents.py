"""Label maps in JSON and YAML: our own, COCO categories, datumaro's meta, names by index.

Facts: COCO's data format page, ultralytics' data.yaml, datumaro's dataset_meta.json, Hugging Face's
id2label, the config.json of Mapillary Vistas.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from maskmill.schemas.errors import SettingsError
from maskmill.schemas.json_text import told_json
from maskmill.schemas.labels import (
    LabelMap,
    checked_color,
    labels_in_order,
    labels_with_background,
)


@dataclass(frozen=True, slots=True)
class JsonForm:
    """One document that names classes: what it is called, how it is known, how it is read."""

    title: str
    knows: Callable[[Any], bool]
    read: Callable[[Any, str], LabelMap]


def json_to_labels(text: str, name: str) -> LabelMap:
    """Any of the documents that name classes.

    Raises:
        SettingsError: none of them, or one that does not follow its form.
    """
    document = told_json(text, name)
    return json_form(document, name).read(document, name)


def json_form(document: Any, name: str) -> JsonForm:
    """The first of JSON_FORMS that knows a document.

    Raises:
        SettingsError: none does.
    """
    found = next((form for form in JSON_FORMS if form.knows(document)), None)
    if found is None:
        raise SettingsError(f"{name} has neither 'classes' nor 'categories'")
    return found


def is_vistas_config(document: Any) -> bool:
    """True for Mapillary Vistas' ``config.json``: a list of labels, each with a readable name."""
    labels = document.get("labels") if isinstance(document, dict) else None
    return (
        isinstance(labels, list)
        and bool(labels)
        and all(isinstance(entry, dict) and {"name", "color"} <= entry.keys() for entry in labels)
    )


def _from_vistas(document: Mapping[str, Any], name: str) -> LabelMap:
    """Names by place, as ``construction--barrier--curb``, which are unique, and colours."""
    names = [str(entry["name"]) for entry in document["labels"]]
    try:
        colors = {str(one["name"]): checked_color(one["color"]) for one in document["labels"]}
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{name}: color: {error}") from error
    return labels_in_order(map_name(name), names, colors)


def _is_map_of_numbers(document: Any) -> bool:
    found = document.get("id2label", document) if isinstance(document, dict) else None
    return isinstance(found, dict) and bool(found) and all(key.isdigit() for key in found)


def _from_dataset_meta(document: Mapping[str, Any], name: str) -> LabelMap:
    """datumaro's ``dataset_meta.json``: names by index, and colours in their order."""
    names = _by_index(document["label_map"], name)
    colors = document.get("segmentation_colors") or []
    if colors and len(colors) != len(names):
        raise SettingsError(f"{name}: {len(names)} labels and {len(colors)} segmentation_colors")
    try:
        painted = {label: checked_color(one) for label, one in zip(names, colors, strict=False)}
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{name}: segmentation_colors: {error}") from error
    return labels_in_order(map_name(name), names, painted)


def yaml_to_labels(text: str, name: str) -> LabelMap:
    """``names`` of data.yaml: a list, or names by index.

    Raises:
        SettingsError: not YAML, or without such names.
    """
    document = parse_yaml(text, name)
    if not isinstance(document, Mapping):
        what = "a list" if isinstance(document, list) else "plain text"
        raise SettingsError(f"{name} is {what}, and has no 'names'; write names: [first, second]")
    if "names" not in document:
        raise SettingsError(f"{name} has no 'names'")
    return _from_names_of(document, name)


def _from_names_of(document: Mapping[str, Any], name: str) -> LabelMap:
    """``names`` of data.yaml: a list, or names by index; ``nc`` must agree where it is there."""
    found = document["names"]
    names = _by_index(found, name) if isinstance(found, Mapping) else found
    if not isinstance(names, list) or not names:
        raise SettingsError(f"{name}: 'names' names no class")
    if document.get("nc", len(names)) != len(names):
        raise SettingsError(f"{name}: nc is {document['nc']}, but there are {len(names)} names")
    return labels_in_order(map_name(name), [str(one) for one in names])


def _by_index(names: Mapping[Any, Any], name: str) -> list[str]:
    try:
        ordered = {int(key): str(label) for key, label in names.items()}
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{name}: class numbers must be integers ({error})") from error
    missing = next((index for index in range(len(names)) if index not in ordered), None)
    if missing is not None:
        raise SettingsError(f"{name}: class numbers must be 0, 1, 2, …; there is no {missing}")
    return [ordered[index] for index in range(len(names))]


def labels_from_categories(categories: Sequence[Any], name: str) -> LabelMap:
    """COCO ``categories`` in the order of their ids, behind a background at index 0.

    COCO does not list background; a category that is called so is it. Ids are kept where all are
    above 0, else they are the class indices. A name that comes twice is one class.

    Raises:
        SettingsError: an entry without id or name, or with values of the wrong kind.
    """
    try:
        ordered = sorted(categories, key=lambda entry: int(entry["id"]))
        first: dict[str, Mapping[str, Any]] = {}
        for entry in ordered:
            first.setdefault(str(entry["name"]), entry)
        return labels_with_background(
            name,
            list(first),
            colors={
                label: checked_color(entry["color"])
                for label, entry in first.items()
                if entry.get("color")
            },
            category_ids={label: int(entry["id"]) for label, entry in first.items()},
            things=[label for label, entry in first.items() if entry.get("isthing", 0)],
            supercategories={
                label: str(entry.get("supercategory") or "") for label, entry in first.items()
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SettingsError(f"{name}: a category needs id and name ({error!r})") from error


def parse_yaml(text: str, name: str) -> Any:
    """A YAML document of plain values; tags that would make objects are refused.

    Raises:
        SettingsError: not YAML, nested too deeply, or a tag.
    """
    try:
        return yaml.safe_load(text)
    except RecursionError as error:
        raise SettingsError(f"{name} is not YAML we read: nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        raise SettingsError(
            f"{name} is not YAML we read: {' '.join(str(error).split())}"
        ) from error


def map_name(name: str) -> str:
    """What a map is called that does not name itself: the stem of its file."""
    return PurePosixPath(name).stem or "labels"


JSON_FORMS: Final[tuple[JsonForm, ...]] = (
    JsonForm(
        "JSON list of names",
        lambda found: (
            isinstance(found, list)
            and bool(found)
            and all(isinstance(entry, str) for entry in found)
        ),
        lambda found, name: labels_in_order(map_name(name), found),
    ),
    JsonForm(
        "COCO categories",
        lambda found: isinstance(found, list),
        lambda found, name: labels_from_categories(found, map_name(name)),
    ),
    JsonForm(
        "maskmill label map",
        lambda found: isinstance(found, dict) and "classes" in found,
        lambda found, _: LabelMap.from_dict(found),
    ),
    JsonForm(
        "COCO document",
        lambda found: (
            isinstance(found, dict)
            and isinstance(found.get("categories"), list)
            and bool(found["categories"])
        ),
        lambda found, name: labels_from_categories(found["categories"], map_name(name)),
    ),
    JsonForm(
        "dataset_meta.json of datumaro",
        lambda found: isinstance(found, dict) and isinstance(found.get("label_map"), dict),
        _from_dataset_meta,
    ),
    JsonForm("config.json of Mapillary Vistas", is_vistas_config, _from_vistas),
    JsonForm(
        "names by index (id2label)",
        _is_map_of_numbers,
        lambda found, name: labels_in_order(
            map_name(name), _by_index(found.get("id2label", found), name)
        ),
    ),
    JsonForm(
        "names of ultralytics",
        lambda found: isinstance(found, dict) and "names" in found,
        _from_names_of,
    ),
)
"""In the order in which they are asked."""
