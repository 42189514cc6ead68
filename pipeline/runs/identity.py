"""What makes a run the same run: settings that say so themselves, and what they resolved to.

The identity is an allowlist. A settings class names each of its fields by :func:`setting`, which
says whether the value decides what comes out; the identity takes those and no others.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, field, fields
from typing import Any

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.errors import RunRefused

PIXELS_VERSION = 4
"""Raised whenever the same input and settings would give other pixels or rows than before."""


def setting(default: Any = MISSING, *, decides: bool) -> Any:
    """A field of a settings class; ``decides``: another value gives other pixels or rows."""
    return field(default=default, metadata={"decides": decides})


def deciding_settings(settings: Any) -> dict[str, Any]:
    """The values of a settings object that decide what comes out, plain for JSON.

    Raises:
        TypeError: a field that does not say whether it decides.
    """
    unsaid = [one.name for one in fields(settings) if "decides" not in one.metadata]
    if unsaid:
        raise TypeError(f"{type(settings).__name__}.{unsaid[0]} does not say whether it decides")
    chosen = [one.name for one in fields(settings) if one.metadata["decides"]]
    return {name: plain(getattr(settings, name)) for name in chosen}


def plain(value: Any) -> Any:
    """Tuples as lists, so that a value equals itself after JSON."""
    return list(value) if isinstance(value, tuple) else value


def digest_of(document: Any) -> str:
    """SHA-256 over a document in canonical JSON."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def settings_fingerprint_of(identity: Mapping[str, Any]) -> str:
    """The fingerprint without the list of inputs: the same for all rows of a run that grew."""
    return digest_of({key: value for key, value in identity.items() if key != "inputs"})


def refuse_difference(
    layout: RunLayout, old: Mapping[str, Any], new: Mapping[str, Any], remedies: Mapping[str, str]
) -> None:
    """Continue only the same run.

    Args:
        layout: the run folder, for the message.
        old: identity on disk.
        new: identity asked for; keys it lacks are not compared (not known yet).
        remedies: what to do about a difference, by key.

    Raises:
        RunRefused: naming every key that differs, with both values.
    """
    differing = [key for key in new if old.get(key) != new[key]]
    if not differing:
        return
    lines = [_difference(key, old.get(key), new[key]) for key in differing]
    advice = [remedies[key] for key in differing if key in remedies]
    otherwise = "Choose another output folder, or repeat the first run's settings."
    raise RunRefused(
        "\n".join([f"{layout.root} holds a different run:", *lines, *(advice or [otherwise])])
    )


def _difference(key: str, old: Any, new: Any) -> str:
    """One line; of two groups of settings only what differs in them."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        old, new = ({name: side.get(name) for name in names} for side in (old, new))
    return f"  {key}: {_brief(old)} there, {_brief(new)} asked for"


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    if len(text) <= 70:
        return text
    return f"{text[:40]}…({hashlib.sha256(text.encode()).hexdigest()[:8]})"
