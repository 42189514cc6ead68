"""run.json: what was asked, what it resolved to, and how the ledger stands.

A run is its fingerprint: a hash over everything that decides pixels. The same command again
continues; another fingerprint in the same folder is refused with a sentence that says what differs.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

from maskmill.pipeline.runs.identity import digest_of
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.ledger import Ledger
from maskmill.schemas.errors import RunFailed, RunRefused

PACKAGES = ("torch", "torchvision", "ray", "pyarrow", "numpy", "pillow", "pycocotools")


@dataclass(slots=True, kw_only=True)
class RunRecord:
    """The document of run.json. ``identity`` is, in readable form, what the fingerprint hashes.

    ``outputs`` are the settings of what is written beside the rows, by name: no part of the
    identity, since more may be asked for later.
    """

    command: str
    identity: dict[str, Any]
    fingerprint: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    label_map: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)  # provenance that documents repeat
    state: str = "running"  # running | finished
    ledger: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    workers: dict[str, Any] = field(default_factory=dict)  # of GPUs: what, driver, memory's limit
    sessions: list[dict[str, Any]] = field(default_factory=list)  # one per start: when, how long

    def identify(self, identity: Mapping[str, Any]) -> None:
        """Take an identity, and its hash with it."""
        self.identity = dict(identity)
        self.fingerprint = digest_of(self.identity)

    def save(self, layout: RunLayout) -> None:
        """Put the record in place."""
        document = json.dumps(asdict(self), indent=1, ensure_ascii=False, sort_keys=True)
        layout.write(layout.run_record, document.encode("utf-8", "surrogateescape"))

    def close(self, layout: RunLayout, ledger: Ledger, session: Mapping[str, Any] | None) -> None:
        """Say how the ledger stands, and that the run is finished where it adds up.

        ``session`` is what this start did, in numbers; None where it found nothing to do.
        """
        self.state = "running" if ledger.pending else "finished"
        self.ledger = ledger.to_dict()
        if session is not None:
            finished = datetime.now(timezone.utc).isoformat(timespec="seconds")
            self.sessions.append({"finished": finished, **session})
        self.save(layout)
        layout.clear(layout.scratch)
        if not ledger.pending:
            layout.clear(layout.attempts)


def load_record(layout: RunLayout) -> RunRecord | None:
    """The record of an earlier start, or None in a fresh folder.

    Raises:
        RunFailed: a run.json that is not ours or is damaged.
    """
    try:
        document = json.loads(layout.read(layout.run_record))
        return RunRecord(**document)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, RecursionError) as error:
        raise RunFailed(
            f"{layout.path(layout.run_record)} is not a run record of maskmill ({error}): choose "
            "another output folder; where it is a torn one of ours, nothing says any more which "
            "run the rows beside it are of: remove the folder and begin anew"
        ) from error


def load_own_record(layout: RunLayout, command: str) -> RunRecord | None:
    """The record of an earlier start of this command, None in a fresh folder.

    Raises:
        RunRefused: the folder holds what another command made, or rows that nothing tells of.
        RunFailed: a record that is not ours or is damaged.
    """
    record = load_record(layout)
    if record is None and layout.exists(layout.metadata):
        raise RunRefused(
            f"{layout.root} holds a folder {layout.metadata!r} and no {layout.run_record} that "
            "says which run it is of: choose another output folder, or remove it"
        )
    if record is not None and record.command != command:
        raise RunRefused(
            f"{layout.root} holds another kind of run, of `maskmill {record.command}`: choose "
            "another output folder"
        )
    return record


def package_versions() -> dict[str, str]:
    """Versions of maskmill and of the packages that decide results, without importing them."""
    found = {"maskmill": tool_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a local run needs no Ray
            found[name] = ""
    return found


def tool_version() -> str:
    """Version of maskmill itself."""
    return metadata.version("maskmill")
