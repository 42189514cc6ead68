"""run.json: what was asked, what it resolved to, and how the ledger stands.

A run is its fingerprint: a hash over everything that decides pixels. The same command again
continues; another fingerprint in the same folder is refused with a sentence that says what differs.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.errors import RunFailed, RunRefused

PIXELS_VERSION = 1
"""Raised whenever the same input and settings would give other pixels or rows than before."""

PACKAGES = ("torch", "torchvision", "ray", "pyarrow", "numpy", "pillow", "pycocotools")


@dataclass(slots=True, kw_only=True)
class Ledger:
    """inputs = ok + failed + pending, always; a finished run has no pending."""

    inputs: int = 0
    ok: int = 0
    failed: int = 0
    failures: dict[str, int] = field(default_factory=dict)  # error_code -> images

    @property
    def pending(self) -> int:
        """Images without a committed row."""
        return self.inputs - self.ok - self.failed

    def add(self, codes: list[str | None]) -> None:
        """Count committed rows by their error_code, None for an ok one."""
        for code in codes:
            if code is None:
                self.ok += 1
            else:
                self.failed += 1
                self.failures[code] = self.failures.get(code, 0) + 1


@dataclass(slots=True, kw_only=True)
class RunRecord:
    """The document of run.json. ``identity`` is, in readable form, what the fingerprint hashes."""

    command: str
    identity: dict[str, Any]
    fingerprint: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    label_map: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)  # provenance that documents repeat
    state: str = "running"  # running | finished
    ledger: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    sessions: list[dict[str, Any]] = field(default_factory=list)  # one per start: when, how long

    def save(self, layout: RunLayout) -> None:
        """Put the record in place."""
        document = json.dumps(asdict(self), indent=1, ensure_ascii=False, sort_keys=True)
        layout.write(layout.run_record, document.encode())

    def close(self, layout: RunLayout, ledger: Ledger, session: Mapping[str, Any] | None) -> None:
        """Say that the run is finished, and clear what only a running one needs.

        ``session`` is what this start did, in numbers; None where it found nothing to do.
        """
        self.state = "finished"
        self.ledger = {**asdict(ledger), "pending": ledger.pending}
        if session is not None:
            finished = datetime.now(timezone.utc).isoformat(timespec="seconds")
            self.sessions.append({"finished": finished, **session})
        self.save(layout)
        for leftover in (layout.scratch, layout.attempts):
            layout.clear(leftover)


def fingerprint_of(identity: Mapping[str, Any]) -> str:
    """SHA-256 over the identity in canonical JSON."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def settings_fingerprint_of(identity: Mapping[str, Any]) -> str:
    """The fingerprint without the list of inputs: the same for all rows of a run that grew."""
    return fingerprint_of({key: value for key, value in identity.items() if key != "inputs"})


def load_record(layout: RunLayout) -> RunRecord | None:
    """The record of an earlier start, or None in a fresh folder.

    Raises:
        RunFailed: a run.json that is not ours or is damaged.
    """
    try:
        return RunRecord(**json.loads(layout.read(layout.run_record)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise RunFailed(
            f"{layout.path(layout.run_record)} is not a run record of maskmill ({error}); "
            "choose another output folder"
        ) from error


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
    raise RunRefused(
        "\n".join(
            [
                f"{layout.root} holds a different run:",
                *lines,
                *(advice or ["Choose another output folder, or repeat the first run's settings."]),
            ]
        )
    )


def package_versions() -> dict[str, str]:
    """Versions of maskmill and of the packages that decide results, without importing them."""
    return {"maskmill": tool_version(), **{name: metadata.version(name) for name in PACKAGES}}


def tool_version() -> str:
    """Version of maskmill itself."""
    return metadata.version("maskmill")


def _difference(key: str, old: Any, new: Any) -> str:
    """One line; of two groups of settings only what differs in them."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        old, new = ({name: side.get(name) for name in names} for side in (old, new))
    return f"  {key}: {_brief(old)} there, {_brief(new)} asked for"


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return (
        text
        if len(text) <= 70
        else f"{text[:40]}…({hashlib.sha256(text.encode()).hexdigest()[:8]})"
    )
