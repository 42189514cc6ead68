"""Class names in documents, and documents read with care."""

import json
from collections.abc import Mapping
from typing import Any

from maskmill.schemas.errors import DocumentFailure, ErrorCode, SettingsError
from maskmill.schemas.labels import LabelMap


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
