"""The audit.json of a folder, read back: the one place that decides what is an audit's."""

import json
from typing import Any, Final

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.errors import SettingsError

DOCUMENT: Final = "audit.json"

_FIELDS: Final = frozenset({"classes", "ledger", "confusion_matrix"})


def read_audit(layout: RunLayout, name: str = DOCUMENT) -> dict[str, Any]:
    """The document of a finished audit.

    Args:
        layout: the folder of the audit.
        name: of the file in it.

    Raises:
        SettingsError: the file is not there, no JSON, or another program's.
    """
    place = f"{layout.root}/{name}"
    try:
        document = json.loads(layout.read(name))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(
            f"{layout.root} holds no finished audit, {name} cannot be read: {error}; the same "
            "audit command again writes it"
        ) from error
    if not isinstance(document, dict) or document.get("document") != "maskmill audit":
        raise SettingsError(f"{place} was not written by maskmill audit; give an audit's folder")
    if not set(document) >= _FIELDS:
        raise SettingsError(f"{place} lacks fields; the same audit command again writes it anew")
    return document
