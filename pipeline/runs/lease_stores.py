"""Where a lease is kept: on a bucket that takes conditional writes, or on any other store."""

import json
import time
import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, Protocol

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.storage.object_client import Changed, ConditionsUnsupported
from maskmill.pipeline.storage.objects import Bucket
from maskmill.pipeline.storage.retries import Patience

SETTLE_SECONDS: Final = 1.0
"""How long a store without conditional writes is given to show who wrote last."""

RENEWALS: Final = 4
"""How often a lease is renewed in one life."""

_NO_TAG: Final = '"00000000000000000000000000000000"'


@dataclass(frozen=True, slots=True)
class Found:
    """The lease on the store: its bytes, what names this version, when the store says it came."""

    data: bytes
    tag: str | None
    modified: datetime | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The lease; empty where it is torn or not ours."""
        try:
            lease = json.loads(self.data)
        except ValueError:
            return {}
        return lease if isinstance(lease, dict) else {}


class LeaseStore(Protocol):
    """One lease on one store. Everything raises ``OSError`` where the store fails."""

    @property
    def note(self) -> str:
        """What this store cannot promise; empty for nothing."""

    def read(self) -> Found | None:
        """The lease that is there."""

    def age(self, found: Found) -> float:
        """Seconds since it was written."""

    def create(self, data: bytes) -> str | None:
        """Write where nothing is; FileExistsError where something is."""

    def replace(self, data: bytes, tag: str | None) -> str | None:
        """Write over one version; ``Changed`` where another is there, or nothing."""

    def delete(self) -> None:
        """Remove the lease."""


class ConditionalStore:
    """A bucket that refuses a write whose condition does not hold."""

    note = ""

    def __init__(self, bucket: Bucket, key: str, lease_seconds: float) -> None:
        settings = replace(
            bucket.settings,
            patience=Patience(seconds=lease_seconds / RENEWALS),
            request_seconds=min(bucket.settings.request_seconds, lease_seconds / RENEWALS / 2),
        )
        self._bucket, self._key = Bucket(settings), key

    def read(self) -> Found | None:
        """The lease that is there."""
        try:
            facts, data = self._bucket.fetch(self._key)
        except FileNotFoundError:
            return None
        return Found(data, facts.tag, facts.modified)

    def age(self, found: Found) -> float:
        """By the store's own clock: a probe is written, and its time compared."""
        probe = f"{self._key}-clock-{uuid.uuid4().hex}"
        self._bucket.write(probe, b"")
        now = self._bucket.facts(probe).modified
        self._bucket.delete([probe])
        return (now - found.modified).total_seconds() if found.modified is not None else 0.0

    def create(self, data: bytes) -> str | None:
        """Where nothing is. What must be refused is tried too: some stores ignore conditions.

        Raises:
            ConditionsUnsupported: the store does.
        """
        tag = self._bucket.create(self._key, data)
        for pretend in (self._bucket.create, partial(self._bucket.replace, tag=_NO_TAG)):
            try:
                pretend(self._key, data)
            except (FileExistsError, Changed):
                continue
            raise ConditionsUnsupported(95, "the store ignored the condition of a write")
        return tag

    def replace(self, data: bytes, tag: str | None) -> str | None:
        """Over one version only."""
        return self._bucket.replace(self._key, data, tag)

    def delete(self) -> None:
        """Remove the lease."""
        self._bucket.delete([self._key])


class PlainStore:
    """Any other place: look, write, wait, look."""

    def __init__(self, layout: RunLayout) -> None:
        self._layout = layout
        self.note = (
            f"{layout.root} is on a store without conditional writes: two runs that start at the "
            "same moment may both go on; start one at a time"
        )

    def read(self) -> Found | None:
        """The lease; its version is its text."""
        try:
            data = self._layout.read(self._layout.lock)
        except FileNotFoundError:
            return None
        return Found(data, data.decode(errors="replace"))

    def age(self, found: Found) -> float:
        """By the clocks of the two machines."""
        renewed = found.document.get("renewed", 0)
        return time.time() - (renewed if isinstance(renewed, int | float) else 0)

    def create(self, data: bytes) -> str | None:
        """Where nothing is, as far as one can see."""
        if self.read() is not None:
            raise FileExistsError(17, "a lease is there")
        return self._write(data)

    def replace(self, data: bytes, tag: str | None) -> str | None:
        """Over one version, as far as one can see."""
        found = self.read()
        if found is None or found.tag != tag:
            raise Changed(116, "another lease is there")
        return self._write(data)

    def _write(self, data: bytes) -> str:
        self._layout.write(self._layout.lock, data)
        time.sleep(SETTLE_SECONDS)
        found = self.read()
        if found is None or found.data != data:
            raise Changed(116, "another run wrote its lease over this one")
        return data.decode()

    def delete(self) -> None:
        """Remove the lease."""
        self._layout.delete(self._layout.lock)
